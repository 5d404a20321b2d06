"""Callbacks of PaddleDetection's trainer, one file each."""
