"""How Sphinx builds these pages: ``sphinx-build -W docs docs/_build``."""

project = 'mmspike'
author = 'The mmspike authors'
copyright = 'the mmspike authors'
extensions = ['myst_parser']
myst_heading_anchors = 3
exclude_patterns = ['_build', '*.ipynb']
html_theme = 'alabaster'
