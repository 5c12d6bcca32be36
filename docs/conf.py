"""Sphinx's configuration of the documentation: `make docs`. Nothing is fetched while it builds."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from xfer.runtime.version import __version__  # noqa: E402

project = "xfer"
author = "the authors of xfer"
copyright = "the authors of xfer, Apache-2.0"
release = version = __version__

extensions = [
    "myst_nb",  # Markdown pages through MyST, and notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # docstrings in Google's style
    "sphinx_copybutton",
    "command_reference",
    "docstrings",
    "outside_links",
]
exclude_patterns = ["_build", "_ext", "speed"]
smartquotes = False  # "--json" and 'digits' are typed as they stand
nitpicky = True  # a reference that leads nowhere is a warning, and `make docs` fails on warnings

myst_enable_extensions = []
myst_heading_anchors = 3  # page.md#heading, as on GitHub
myst_links_external_new_tab = False
nb_execution_mode = "off"  # notebooks are shown as they are committed; the tests execute them
suppress_warnings = ["myst.strikethrough"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
maximum_signature_line_length = 90
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"xfer {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_exclude = ".linenos, .gp, .go"
