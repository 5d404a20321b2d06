"""See `python tools/eval.py --help`."""

from paddle_focal.detection.evaluation import main

if __name__ == "__main__":
    main()
