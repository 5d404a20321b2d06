"""What is wrong with a data set, judged by what PaddleDetection and pycocotools do with it.

``preflight`` and ``coco_check`` ask PaddleDetection; what looks at an annotation file alone does not need it.
"""
