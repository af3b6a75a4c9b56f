"""How the documentation is built: ``sphinx-build -W -n docs SITE``.

Sphinx, since it takes the reference out of docstrings, checks every cross-reference (``-n``), and with myst-nb runs the
pages' code while it builds them: a page whose code fails is no page. Warnings are errors (``-W``).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the parts of this build that stand beside it

import datarax_mp

project = "datarax_mp"
author = "The datarax_mp authors"
release = version = datarax_mp.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design", "public_names", "every_message"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures have them, and the words that explain them stand in the docstrings
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "datarax_mp"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]
exclude_patterns = ["README.md"]
nitpicky = True
# Docstrings name types of other projects, and our own without their full path; what is checked is what a page links to.
nitpick_ignore_regex = [("py:.*", ".*")]
