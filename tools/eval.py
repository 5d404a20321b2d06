"""See `python tools/eval.py --help`."""

import os

os.environ.setdefault("GLOG_minloglevel", "2")  # Paddle's C++ notes about its own deprecations

from paddle_focal.detection.evaluation import main

if __name__ == "__main__":
    main()
