"""``python -m paddle_focal``: the command ``paddle-focal``."""

import sys

from paddle_focal.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
