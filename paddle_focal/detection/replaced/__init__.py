"""The replacements of PaddleDetection's components, one file for each family of detectors.

They hand logits, class indices and scores to the losses, and leave the rest to PaddleDetection. Whatever a name of
PaddleDetection stands for once it is replaced is an attribute of this package.
"""
