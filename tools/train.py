"""See `python tools/train.py --help`."""

from paddle_focal.detection.training import main

if __name__ == "__main__":
    main()
