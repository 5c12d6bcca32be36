"""Links of the pages to files beside docs/, which on the site are pages of their own."""

from __future__ import annotations

import re
from os.path import normpath, relpath

from sphinx.application import Sphinx

PAGES = {
    "SECURITY.md": "security-policy.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "examples": "examples.md",
}
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")


def rewritten(text: str, folder: str, shown_in: str) -> str:
    """Markdown whose links to what `PAGES` names, and to docs/ from outside, lead to the pages of the site.

    Args:
        text: the Markdown.
        folder: where the file is, from the root of the repository, such as "docs/tutorials" or "."
        shown_in: the folder of the page that shows it, from docs/.
    """

    def link(found: re.Match[str]) -> str:
        path = normpath(f"{folder}/{found[2]}")
        top, _, rest = path.partition("/")
        page = PAGES.get(path) or PAGES.get(top) or (rest if folder == "." and top == "docs" else None)
        if "://" in found[2] or page is None:
            return found[0]
        return f"{found[1]}{relpath(page, shown_in)}{found[3]}"

    return LINK.sub(link, text)


def included(app: Sphinx, path: object, parent: str, content: list[str]) -> None:
    """The event `include-read`: files of the repository's root in a page of docs/."""
    content[0] = rewritten(content[0], ".", ".")


def read(app: Sphinx, page: str, content: list[str]) -> None:
    """The event `source-read`."""
    if app.env.doc2path(page).suffix != ".ipynb":
        folder = page.rpartition("/")[0] or "."
        content[0] = rewritten(content[0], f"docs/{folder}", folder)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the events."""
    app.connect("source-read", read)
    app.connect("include-read", included)
    return {"parallel_read_safe": True}
