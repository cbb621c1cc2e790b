"""How Sphinx makes the site of the guide: `make docs`.

The Markdown pages are written for a code-hosting site, where links lead to files. So the source folder is the whole
repository, and this file closes two gaps: the navigation comes from the lists of `README.md`, and a link to a folder
becomes plain text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

from pyramid_temporal_compat import __version__

ROOT = Path(__file__).parent.parent
HOME = "migration_guide/README"

project = "pyramid-temporal-compat"
author = copyright = "the pyramid-temporal-compat authors"
release = version = __version__
html_title = f"{project} {version}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = HOME
include_patterns = ["migration_guide/**.md", "bench/*.md", "CHANGES.md"]
exclude_patterns = ["**/.*", ".venv", ".cache", "migration_guide/examples"]

myst_heading_anchors = 3
# Names in signatures link to nothing: the Python documentation would have to be fetched at each build.
nitpick_ignore_regex = [("py:.*", ".*")]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
# `$ ` and `>>> ` stay out of what the copy button copies, and so does output.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_static_path = ["_site"]
html_css_files = ["guide.css"]
html_additional_pages = {"index": "index.html"}
templates_path = ["_site"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_permalinks_icon = "#"
# Typographic dashes would turn `--option` in a sentence into another character.
smartquotes = False

OURS = {"outbox", "pyramid_request", "temporal"}
"""Public members of classes that Celery's classes do not have."""
try:
    import celery.result
except ImportError:  # only the API page differs: it then shows internal members too
    CELERYS: set[str] = set()
else:
    CLASSES = (celery.Celery, celery.Task, celery.Signature, celery.chain, celery.chord, celery.group, celery.chunks)
    CELERYS = {name for kind in (*CLASSES, celery.result.AsyncResult) for name in dir(kind)}

SECTION = re.compile(r"^## (?P<title>.+)\n(?P<body>(?:(?!^## ).*\n?)*)", re.MULTILINE)
LISTED = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<page>[^)#]+)\.md\)", re.MULTILINE)
SINGLE_BACKTICKS = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


def add_navigation(app: Any, page: str, source: list[str]) -> None:
    """Append to the first page one hidden table of contents for each of its lists."""
    if page == HOME:
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {section['title']}\n\n{pages}\n```\n"
            for section in SECTION.finditer(source[0])
            if (pages := "\n".join(f"{found['title']} <{found['page']}>" for found in LISTED.finditer(section["body"])))
        )


def leave_links_to_files(app: Any, doctree: nodes.document) -> None:
    """Keep only the text of a link to a folder of the repository: it is no page of the site."""
    folder = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] == "myst" and (folder / link["reftarget"]).exists():
            link.replace_self(link.children)


def as_markup(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Turn the Markdown code spans of a docstring into reStructuredText, which autodoc reads."""
    lines[:] = SINGLE_BACKTICKS.sub(r"``\1``", "\n".join(lines)).split("\n")


def skip_internals(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out a member of a class that Celery's classes do not have: it is not public."""
    return True if what == "class" and CELERYS and name not in CELERYS | OURS else None


def setup(app: Any) -> None:
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", leave_links_to_files)
    app.connect("autodoc-process-docstring", as_markup)
    app.connect("autodoc-skip-member", skip_internals)
