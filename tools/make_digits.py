"""See `python tools/make_digits.py --help`."""

from paddle_focal.digits import main

if __name__ == "__main__":
    main()
