"""How Sphinx builds the documentation: `make docs`, with warnings as errors."""

import importlib.metadata

project = "Underpass"
author = "the Underpass developers"
project_copyright = "the Underpass developers"
release = version = importlib.metadata.version("underpass")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Underpass {release}"
html_copy_source = False

# Native classes carry their signatures, and the docstrings are Google's form.
autodoc_default_options = {"members": True, "inherited-members": "BaseException,Exception,OSError"}
autodoc_member_order = "alphabetical"
napoleon_numpy_docstring = False
