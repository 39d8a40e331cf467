"""How Sphinx builds these pages: `make docs`.

A new page goes into a list of index.md, or into that of its folder; one in no list is a warning,
and the tests build without warnings.
"""

import sys
from pathlib import Path

import devmodel

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "devmodel"
version = release = devmodel.__version__
html_title = "devmodel"
html_theme = "furo"
# Where a page came from is in the repository, not on the page.
html_copy_source = False
html_show_sphinx = False

extensions = ["myst_parser", "command_line", "machine_keys"]
exclude_patterns = ["_build", "_ext"]
# Headings are links, as those who read the files themselves have them.
myst_heading_anchors = 4
nitpicky = True
# A block that names no language is what a person types, or sees.
highlight_language = "none"
