"""Which arguments make-digits takes, up to the last one that is right."""

from __future__ import annotations

import pytest

from paddle_focal.cli import make_digits
from paddle_focal.data import digits

IMAGES = "--train-images and --val-images must be at least 1"
SIZES = "--digit-size must be two numbers with 8 <= smallest <= largest <= --image-size"
DIGITS = "--digits-per-image must be two numbers with 0 <= fewest <= most"
IMBALANCE = "--imbalance must be at least 1"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--train-images 1 --val-images 1", None),
        ("--train-images 0", IMAGES),
        ("--val-images 0", IMAGES),
        ("--digit-size 8 8", None),
        ("--digit-size 7 9", SIZES),
        ("--digit-size 20 19", SIZES),
        ("--image-size 44", None),
        ("--image-size 43", SIZES),
        ("--digits-per-image 0 0", None),
        ("--digits-per-image -1 3", DIGITS),
        ("--digits-per-image 4 3", DIGITS),
        ("--imbalance 1", None),
        ("--imbalance 0.99", IMBALANCE),
        ("--imbalance nan", IMBALANCE),
    ],
)
def test_limits(capsys, flags, said):
    if said is None:
        assert make_digits.parse_arguments(flags.split()).seed == 0
        return
    with pytest.raises(SystemExit) as end:
        make_digits.parse_arguments(flags.split())
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {said}\n")


def test_what_is_made(monkeypatch):
    made = []
    monkeypatch.setattr(digits, "make_digits", made.append)
    make_digits.main(["--output", "o", "--seed", "3"])
    assert [(options.output, options.seed, options.train_images) for options in made] == [("o", 3, 800)]
