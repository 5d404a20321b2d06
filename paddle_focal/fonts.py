"""Fonts for the names in pictures, in whatever script they are written.

Matplotlib and Pillow draw an empty box for each character that their font lacks.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

Key = TypeVar("Key", bound=Hashable)

logger = logging.getLogger("paddle_focal")

#: Matplotlib's own, which is always there, with Latin, Greek and Cyrillic letters, among others.
DEFAULT = os.path.join(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
_VARIANTS = ("bold", "black", "heavy", "light", "thin", "italic", "oblique", "condensed", "mono", "serif")


@contextlib.contextmanager
def in_figures(names: Mapping[Key, str], texts: Iterable[str] = ()) -> Iterator[dict[Key, str]]:
    """A context in which matplotlib's figures show names, and other texts, in the fonts that have their characters.

    Args:
        names: by their numbers.
        texts: what else the figures show.

    Yields:
        dict: the names, with their numbers in place of those that no font can show.
    """
    wanted = _characters([*names.values(), *texts])
    files, missing = [DEFAULT], _lacking(DEFAULT, wanted)
    while missing:
        best = _best(missing)
        rest = _lacking(best, missing)
        if rest == missing:
            break
        files.append(best)
        missing = rest
    with matplotlib.rc_context({"font.family": [_family(file) for file in files]}):
        yield _shown(names, missing)


def for_pillow(names: Mapping[Key, str]) -> tuple[dict[Key, str], str | None]:
    """The names as Pillow can show them, which takes one font only, and its file, or None if Pillow's own will do."""
    if all(name.isascii() for name in names.values()):
        return dict(names), None
    wanted = _characters([*names.values(), "0123456789."])  # a score follows
    file = _best(wanted)
    return _shown(names, _lacking(file, wanted)), file


@functools.cache
def font_files() -> tuple[str, ...]:
    """All fonts of the system, upright ones of a normal weight first; matplotlib's list of them may be an old one."""

    def order(path: str) -> tuple:
        name = os.path.basename(path).lower()
        return sum(variant in name for variant in _VARIANTS), name

    return (DEFAULT, *sorted(font_manager.findSystemFonts(), key=order))


def printable(text: str) -> str:
    """A text with a question mark for each character that no font can show."""
    missing = _characters([text])
    for file in font_files():
        missing = _lacking(file, missing) if missing else missing
    return "".join("?" if character in missing else character for character in text)


def _characters(texts: Iterable[str]) -> frozenset[str]:
    """What has to be drawn: no spaces, and nothing that only directs other characters."""
    return frozenset(c for text in texts for c in text if unicodedata.category(c)[0] not in "CZ")


def _best(characters: frozenset[str]) -> str:
    return min(font_files(), key=lambda file: len(_lacking(file, characters)))


def _lacking(file: str, characters: frozenset[str]) -> frozenset[str]:
    """The characters that a font has no shape for."""
    try:
        font = FT2Font(file)
    except (OSError, RuntimeError):  # damaged, or of a kind that FreeType does not know
        return characters
    if not font.scalable or "LastResort" in font.family_name.replace(" ", ""):  # pictures, or a box for everything
        return characters
    return frozenset(c for c in characters if not font.get_char_index(ord(c)))


def _family(file: str) -> str:
    """The name by which matplotlib finds a font."""
    manager = font_manager.fontManager
    if not any(entry.fname == file for entry in manager.ttflist):
        manager.addfont(file)
    return next(entry.name for entry in manager.ttflist if entry.fname == file)


def _shown(names: Mapping[Key, str], missing: frozenset[str]) -> dict[Key, str]:
    if missing:
        _warn(missing)
    return {key: f"class {key}" if missing.intersection(name) else name for key, name in names.items()}


@functools.cache
def _warn(missing: frozenset[str]) -> None:
    """Once for the same characters, of which every picture of a run may have some."""
    characters = sorted(missing)
    east_asian = any(unicodedata.name(c, "").startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL")) for c in characters)
    remedy = "Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk)" if east_asian else "one of the Noto fonts"
    logger.warning(
        "No font on this machine has %s%s: pictures show such classes by their numbers. Install, for example, %s",
        " ".join(characters[:8]),
        " ..." if len(characters) > 8 else "",
        remedy,
    )
