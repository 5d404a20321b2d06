"""See `python tools/eval.py --help`."""

import sys

from paddle_focal.cli.main import start

if __name__ == "__main__":
    sys.exit(start("eval"))
