"""See `python tools/check_data.py --help`."""

import sys

from paddle_focal.cli.main import start

if __name__ == "__main__":
    sys.exit(start("check-data"))
