"""The package. Paddle is not among its requirements: pip would lay paddlepaddle over an installed paddlepaddle-gpu."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "paddle_focal/__init__.py").read_text(), re.MULTILINE).group(1)

setup(
    name="paddle_focal",
    version=VERSION,
    description="Focal loss for PaddlePaddle and PaddleDetection: a drop-in that is fast, lean and right everywhere",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=find_packages(include=["paddle_focal", "paddle_focal.*"]),
    install_requires=["numpy"],
    extras_require={"cpu": ["paddlepaddle>=3.3"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
