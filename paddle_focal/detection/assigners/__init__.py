"""Matching anchors with boxes: which anchor is trained to find which object."""
