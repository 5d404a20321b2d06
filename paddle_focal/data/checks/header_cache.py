"""The headers of a folder's images, of which those that were read before are known."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import PIL
from paddle import distributed
from tqdm import tqdm

from paddle_focal.data.checks.headers import Header, quiet_pillow, read_header
from paddle_focal.files import write_whole

_VERSION = f"1, Pillow {PIL.__version__}, OpenCV {cv2.__version__}".encode()


def read_headers(folder: str, names: Sequence[str]) -> list[Header | None]:
    """The header of each file, None if PaddleDetection cannot decode it.

    Headers are kept in a cache, by the file's name, size and time stamp. On a terminal, a bar shows the progress of
    what takes longer than a second.

    Args:
        folder: the images'.
        names: relative to the folder.
    """
    store = _store(folder)
    known = _load(store)
    entries: dict[str, list[int]] = {}
    headers = []
    is_hidden = None if distributed.get_rank() == 0 else True  # None: unless there is a terminal
    options = {"unit": "image", "delay": 1, "leave": False, "dynamic_ncols": True, "disable": is_hidden}
    with quiet_pillow():
        for name in tqdm(names, desc=f"headers of {os.path.basename(folder)}", **options):
            path = os.path.join(folder, name)
            stamp = _stamp(path)
            entry = known.get(name)
            if entry and entry[:2] == stamp:
                header = Header(*entry[2:])
            else:
                header = read_header(path)
                if header:
                    entries[name] = [*stamp, *map(int, header)]
            headers.append(header)
    if entries:
        _save(store, {**known, **entries})
    return headers


def _stamp(path: str) -> list[int]:
    try:
        status = os.stat(path)
    except OSError:
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]


def _store(folder: str) -> Path:
    """The file of the cache for a folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:20]
    return Path(home, "paddle_focal", "headers", name)


def _load(store: Path) -> dict[str, list[int]]:
    try:
        seal, _, text = store.read_bytes().partition(b"\n")
        return json.loads(text) if seal == _seal(text) else {}
    except OSError:
        return {}


def _save(store: Path, entries: dict[str, list[int]]) -> None:
    text = json.dumps(entries).encode()
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        write_whole(store, lambda partial: partial.write_bytes(_seal(text) + b"\n" + text))
    except OSError:
        pass  # no room, or no permission: next time they are read again


def _seal(text: bytes) -> bytes:
    """What only this version, with the same libraries, writes before a text."""
    return hashlib.sha256(_VERSION + text).hexdigest().encode()
