"""Docstrings as Sphinx reads them: plain text with `code` becomes reStructuredText, and types become links."""

from __future__ import annotations

import builtins
import pkgutil
import re
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

import xfer

LOGGER = logging.getLogger(__name__)
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
BOUNDED = re.compile(r"~?(?:typing\.)?Annotated\[(\w+), (?:~?[\w.]+\.)?FieldInfo\((?:[^()]|\([^()]*\))*\)\]")
EXAMPLE = re.compile(r"^\s*(>>>|\.\.\.) ?", re.MULTILINE)


ENTRY = {
    "Raises:": re.compile(r"(?<=\.) (?=(?:\w+Error|Interrupted): )"),
    "Attributes:": re.compile(r"(?<=\.) (?=[a-z_]+: )"),
}


def one_entry_a_line(lines: list[str]) -> list[str]:
    """The lines with those of `Raises:` and `Attributes:` that hold several entries divided, as napoleon expects it."""
    made: list[str] = []
    section = ""
    for line in lines:
        section = line if re.match(r"\w+:$", line) else section
        if section in ENTRY and re.match(r"    (?! )(?![\w., ]+: )", line):
            line = f"    {line}"  # goes on with the entry above
        first, *others = ENTRY[section].split(line) if section in ENTRY else [line]
        made += [first, *(f"    {other}" for other in others)]
    return made


def as_rst(lines: list[str]) -> list[str]:
    """The lines with literals in double backticks, and what reStructuredText would read as markup escaped."""
    if any(EXAMPLE.match(line) for line in lines):
        start = next(i for i, line in enumerate(lines) if EXAMPLE.match(line))
        end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
        return [*as_rst(lines[:start]), *lines[start:end], *as_rst(lines[end:])]
    text, made, last = "\n".join(lines), "", 0
    for found in CODE.finditer(text):
        made += escaped(text[last : found.start()]) + f"``{found[2]}``"
        if re.match(r"\w", text[found.end() :]):
            made += "\\ "
        last = found.end()
    return (made + escaped(text[last:])).split("\n")


def escaped(text: str) -> str:
    """Plain text in which `*`, `|` and a final `_` stand for themselves."""
    return re.sub(r"([*|]|(?<=\w)_(?=\W|$))", r"\\\1", text)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The event `autodoc-process-docstring`, before napoleon."""
    lines[:] = as_rst(one_entry_a_line(lines))


def without_bounds(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """The event `autodoc-process-signature`: types without the bounds that pydantic keeps beside them."""
    return signature and BOUNDED.sub(r"\1", signature), returns


@cache
def known_names() -> frozenset[str]:
    """Names of all classes, functions and type aliases of the core, and of its modules."""
    modules: list[ModuleType] = [xfer]
    names = {"xfer"}
    for found in pkgutil.walk_packages(xfer.__path__, "xfer."):
        if not found.name.startswith(("xfer.testing", "xfer.__main__")):
            modules.append(import_module(found.name))
            names.add(found.name)
    return frozenset(names.union(*(vars(module) for module in modules)))


def resolve(app: Sphinx, env: Any, node: pending_xref, contnode: nodes.Element) -> nodes.Node | None:
    """The event `missing-reference`, for types in signatures and docstrings.

    A documented name is linked by its last part, however an annotation spells it. Other names of the core, of Python
    and of other libraries are shown without a link. All else stays a warning.
    """
    if node.get("refdomain") != "py":
        return None
    domain: PythonDomain = env.domains.python_domain
    target = node["reftarget"]
    last = target.rsplit(".", 1)[-1]
    kinds = ("class", "exception", "function", "data")
    names = (name for name, made in domain.objects.items() if made.objtype in kinds and name.endswith(f".{last}"))
    if full := min(names, key=len, default=None):
        made = domain.objects[full]
        return make_refnode(app.builder, node["refdoc"], made.docname, made.node_id, [contnode], full)
    if last in known_names() or hasattr(builtins, last) or not target.startswith("xfer"):
        return contnode
    return None


def check_complete(app: Sphinx, env: Any) -> None:
    """The event `env-check-consistency`: a warning for each public name that no page of the reference has."""
    for name in xfer.__all__:
        if f"xfer.{name}" not in env.domains.python_domain.objects:
            LOGGER.warning("xfer.%s is public: name it in a page of docs/api/", name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the events."""
    app.connect("env-check-consistency", check_complete)
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-process-signature", without_bounds)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
