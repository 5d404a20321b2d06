from __future__ import annotations

import pytest

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
