"""Sphinx's settings for `make site`; cifar_course/publish/site.py stages the sources and starts it."""

project = "CIFAR-10 and batch normalisation"
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx-mathjax-offline"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the report has executed them
nb_merge_streams = True
nb_ipywidgets_js = {}  # would be loaded from another host

language = "en"
html_title = project
html_theme = "furo"  # light and dark, no font or script from another host
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
