"""See `python tools/make_digits.py --help`."""

import os
import warnings

# What Paddle says about its own deprecations helps nobody who wants images.
warnings.filterwarnings("ignore")
os.environ.setdefault("GLOG_minloglevel", "2")

from paddle_focal.data.digits import main

if __name__ == "__main__":
    main()
