"""What a user can do about an exception of ppdet's or Paddle's."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from ppdet.data.source.voc import VOCDataSet

_SUMMARY = "Error Message Summary:"  # in Paddle's messages, after a traceback of C++
_LONGEST = 400  # characters


def explanation(error: BaseException) -> str | None:
    """What is wrong with the user's files, if that is known to have raised the exception."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code is VOCDataSet.parse_dataset.__code__ and "line" in frame.f_locals:
            return _about_voc(error, frame.f_locals)
    return None


def traceback_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def in_one_line(error: BaseException) -> str:
    """The type of an exception and its message, without what Paddle puts around it."""
    _, summary, text = str(error).rpartition(_SUMMARY)
    text = " ".join((text.lstrip("-\n ") if summary else text).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _about_voc(error: BaseException, found: Mapping[str, Any]) -> str:
    if len(found["line"].split()) < 2:
        return f"{found['anno_path']} must name an image and an XML file in each line, but has {found['line']!r}"
    file, name, classes = found["xml_file"], found.get("cname"), found["cname2cid"]
    if isinstance(error, KeyError) and error.args == (name,):
        source = found.get("label_path", "those of PASCAL VOC, as no label_list is set")
        return f"{file} has the class {name!r}, which is not among {', '.join(classes)} ({source})"
    return f"{file} is no annotation file as PASCAL VOC has them: {in_one_line(error)}"
