"""Sphinx's configuration; `make docs` builds the pages with it."""

import paddle_focal

project = "paddle_focal"
author = "The paddle_focal authors"
release = paddle_focal.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"paddle_focal {release}"
html_copy_source = False
html_show_copyright = False
exclude_patterns = ["_build"]

myst_heading_anchors = 3
autodoc_typehints = "none"  # the docstrings describe the arguments
autodoc_member_order = "bysource"
napoleon_use_rtype = False
# Exceptions and types in docstrings are words, which have no page to lead to.
nitpick_ignore_regex = [("py:(class|exc)", r"(?!paddle_focal).*")]
