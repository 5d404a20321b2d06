"""Data sets in the formats of other tools, converted to COCO's.

A format (``voc.py``, ``yolo.py``, ``labelme.py``) knows one file of annotations and its own lists of classes and
images; where files lie, pictures, faults and the COCO document are common to all.
"""

import paddle_focal.detection  # noqa: F401 - imports ppdet without its chatter, or says how to install it
