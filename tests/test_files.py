from __future__ import annotations

import os

import pytest

from paddle_focal import files
from paddle_focal.files import write_whole


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_whole(path, lambda partial: partial.write_text("old"))

    def interrupted(partial):
        partial.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("old")
    synced = []

    def fsync(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}") if os.path.exists("/proc/self/fd") else None
        synced.append((descriptor, name, (tmp_path / "a.json").read_text()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_whole(tmp_path / "a.json", lambda partial: partial.write_text("new"))
    ((descriptor, name, content),) = synced
    assert name in (None, str(tmp_path / "a.partial.json"))
    assert content == "old"
    assert (tmp_path / "a.json").read_text() == "new"
    with pytest.raises(OSError):  # noqa: PT011 - it has been closed
        os.fstat(descriptor)


def test_a_disk_that_fails(tmp_path, monkeypatch):
    tried = []

    def fsync(descriptor: int) -> None:
        tried.append(descriptor)
        raise OSError("of a test")

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match="of a test"):
        write_whole(tmp_path / "a.json", lambda partial: partial.write_text("new"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError):  # noqa: PT011 - it has been closed
        os.fstat(tried[0])


def test_nothing_to_clean_up(tmp_path):
    def fail(partial):
        raise ValueError("before a file was made")

    with pytest.raises(ValueError, match="before a file was made"):
        write_whole(tmp_path / "a.json", fail)
