"""What every Python under ``paddle-focal run`` does when it starts: it sees to it that ppdet's losses are replaced.

Nothing of it lasts: Python imports a module of this name at its start, and finds this one by PYTHONPATH.
"""

import contextlib
import importlib.machinery
import importlib.util
import os
import sys
import zlib  # noqa: F401 - before Paddle is imported; paddle_focal/_paddle.py says why

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.dirname(os.path.dirname(HERE))


class _Finder:
    """Finds ppdet where it is, and replaces its losses once it is imported; finds the paddle_focal of the command."""

    def find_spec(self, name, path=None, target=None):
        if name == "paddle_focal":
            file = os.path.join(PACKAGE, "__init__.py")
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[PACKAGE])
        if name != "ppdet":
            return None
        finders = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in finders)), None)
        if spec and spec.loader:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (execute(module), _replace())
        return spec


def _replace():
    names = os.environ.get("PADDLE_FOCAL_REPLACE")
    try:
        from paddle_focal.detection.registration import replace

        with contextlib.redirect_stdout(sys.__stdout__):  # paddle_focal.detection keeps what is printed meanwhile
            replace(names.split(",") if names else None)
    except Exception as error:
        raise ImportError(
            f"paddle-focal run: PaddleDetection's losses cannot be replaced in {sys.executable}: {error}"
        ) from error


def _run_the_one_behind():
    """The module of this name that Python would have imported without this one."""
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize")
    if spec and spec.loader:
        sys.modules["sitecustomize"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["sitecustomize"])


sys.meta_path.insert(0, _Finder())
_run_the_one_behind()
