"""See `python tools/train.py --help`."""

import os

os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's C++ notes about its own deprecations

from paddle_focal.detection.training import main

if __name__ == "__main__":
    main()
