"""See `python tools/convert.py --help`."""

import os
import warnings

# What Paddle and ppdet's dependencies say about their own deprecations helps nobody who trains.
warnings.filterwarnings("ignore")
os.environ.setdefault("GLOG_minloglevel", "2")

from paddle_focal.cli.convert import main

if __name__ == "__main__":
    main()
