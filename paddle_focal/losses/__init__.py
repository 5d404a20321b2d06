"""The losses, one file each with its function and its layer, and what divides and schedules them.

Functions check, normalise and reduce; layers hold hyper-parameters. Imports ``ops``, and no PaddleDetection.
"""
