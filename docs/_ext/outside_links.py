"""Links of the pages to files beside docs/, which on the site are pages of their own."""

from __future__ import annotations

import os.path
import re

from sphinx.application import Sphinx

PAGES = {
    "SECURITY.md": "security-policy.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "examples": "examples.md",
    "docs": "index.md",
}
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")


def rewritten(text: str, page: str) -> str:
    """The Markdown of a page, with links to what `PAGES` names turned into links to its page of the site.

    Args:
        text: the Markdown.
        page: the name of the page in docs/, such as "tutorials/photos".
    """
    folder = os.path.dirname(page)

    def link(found: re.Match[str]) -> str:
        if "://" in found[2] or found[2].startswith("mailto:"):
            return found[0]
        path = os.path.normpath(os.path.join("docs", folder, found[2]))
        name = path if path in PAGES else path.split(os.sep)[0]
        if name == "docs" or name not in PAGES:
            return found[0]
        return f"{found[1]}{os.path.relpath(PAGES[name], folder or '.')}{found[3]}"

    return LINK.sub(link, text)


def included(app: Sphinx, path: object, parent: str, content: list[str]) -> None:
    """The event `include-read`: files of the repository's root, whose links are relative to it."""
    content[0] = re.sub(r"\]\((docs/)([^)]*)\)", r"](\2)", rewritten(content[0], "../root"))


def read(app: Sphinx, page: str, content: list[str]) -> None:
    """The event `source-read`."""
    if not app.env.doc2path(page).suffix == ".ipynb":
        content[0] = rewritten(content[0], page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the events."""
    app.connect("source-read", read)
    app.connect("include-read", included)
    return {"parallel_read_safe": True}
