"""The package. Paddle is not among its requirements: pip would lay paddlepaddle over an installed paddlepaddle-gpu.

The native library is compiled where there is a C++ compiler; it serves every Paddle and every Python, so that a wheel
is tagged for neither. PADDLE_FOCAL_BUILD=0 leaves it out, =1 makes the installation fail without it; unset, the package
is installed either way.
"""

import importlib.util
import os
import re
import shutil
import warnings
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "paddle_focal/__init__.py").read_text(), re.MULTILINE).group(1)
# Not paddledet itself, whose own requirements cannot be installed together: `pip install --no-deps paddledet`.
REQUIREMENTS = (ROOT / "requirements.in").read_text()
DETECTION = re.search(r"the extra `detection`[^\n]*\n(.*?)\n\n", REQUIREMENTS, re.DOTALL).group(1)
BUILD = os.environ.get("PADDLE_FOCAL_BUILD", "")
if BUILD not in ("", "0", "1"):
    raise SystemExit(f"PADDLE_FOCAL_BUILD must be 0, 1 or unset, but is {BUILD!r}")


def load_build_module():
    """paddle_focal/build.py without paddle_focal, which needs Paddle."""
    specification = importlib.util.spec_from_file_location("paddle_focal_build", ROOT / "paddle_focal/build.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class BuildLibrary(build_ext):
    """Hands the build to paddle_focal/build.py, which also serves an installed package."""

    built = ()

    def run(self):
        builder = load_build_module()
        directory = ROOT / "paddle_focal" if self.inplace else Path(self.build_lib, "paddle_focal")
        try:
            library = builder.build(directory)
            self.built = tuple(str(path) for path in (library, directory / builder.KERNELS) if path.exists())
        except builder.BuildError as error:
            if BUILD == "1":
                raise
            # Which pip passes on, unlike what setuptools announces.
            warnings.warn(f"paddle_focal: installed without its native library: {error}", stacklevel=1)

    def get_outputs(self):
        return list(self.built)

    def get_output_mapping(self):
        return {}


class WheelForAnyPython(bdist_wheel):
    """The library depends on the platform only."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class BuildWithConfigurations(build_py):
    """Lays configs/ into the package, whose tools take them by name."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree(ROOT / "configs", Path(self.build_lib, "paddle_focal/configs"), dirs_exist_ok=True)


setup(
    name="paddle_focal",
    version=VERSION,
    description="Focal loss for PaddlePaddle and PaddleDetection: a drop-in that is fast, lean and accurate",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=find_packages(include=["paddle_focal", "paddle_focal.*"]),
    package_data={"paddle_focal": ["py.typed", "csrc/*", "csrc/*/*", "cli/startup/*.py"]},
    ext_modules=[] if BUILD == "0" else [Extension("paddle_focal.native", sources=[])],
    cmdclass={"bdist_wheel": WheelForAnyPython, "build_ext": BuildLibrary, "build_py": BuildWithConfigurations},
    entry_points={"console_scripts": ["paddle-focal = paddle_focal.cli.main:main"]},
    install_requires=["numpy"],
    extras_require={
        "cpu": ["paddlepaddle>=3.3"],
        "detection": [line for line in DETECTION.splitlines() if not line.startswith("#")],
        "onnx": ["onnx>=1.17", "paddle2onnx>=2.1"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
