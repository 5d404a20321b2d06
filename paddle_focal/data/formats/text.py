"""Text files of any tool and system: UTF-8 with or without a mark, UTF-16, or what is declared."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from paddle_focal.data.checks.coco_file import repeated
from paddle_focal.data.checks.data_report import some
from paddle_focal.data.formats.findings import FormatError

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_XML_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*\bencoding\s*=\s*["']([\w.:-]+)["']""")


def read_text(path: Path, encoding: str | None = None) -> str:
    """The text of a file.

    Args:
        path: the file.
        encoding: of files without a byte order mark. None stands for what an XML declaration says, or else UTF-8; other
            encodings are not guessed, for a wrong guess reads wrong names.

    Raises:
        FormatError: the file cannot be read, or has another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror}") from None
    declared = _XML_DECLARATION.match(content)
    used = next((name for mark, name in _MARKS.items() if content.startswith(mark)), encoding)
    used = used or (declared.group(1).decode() if declared else "utf-8")
    try:
        return content.decode(used)
    except UnicodeError:
        raise FormatError(
            f"is not in the encoding {used}: save it as UTF-8, or name its encoding, as in --encoding gbk"
        ) from None
    except LookupError:
        raise FormatError(f"is in an encoding that Python does not know: {used}") from None


def lines(text: str) -> list[str]:
    """Without what surrounds them, and without empty lines at the end."""
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []


def read_class_list(path: Path, encoding: str | None = None) -> list[str]:
    """The names of classes, one a line.

    Raises:
        FormatError: the file cannot be read, or as :func:`check_class_names`.
    """
    return check_class_names(lines(read_text(path, encoding)))


def check_class_names(names: list[str]) -> list[str]:
    """The names, if they can be those of classes.

    Raises:
        FormatError: there are none, one occurs twice, or one is empty: whether an empty line counts is not known.
    """
    if not names:
        raise FormatError("names no classes: one name a line is accepted")
    if "" in names:
        raise FormatError(f"has an empty line, {names.index('') + 1}, before the last class: take it out")
    if repeated(names):
        raise FormatError(f"names a class more than once: {some(repeated(names))}")
    return names
