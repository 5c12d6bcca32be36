"""The directive `{command} train`: all arguments and options of a command, read from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from xfer.cli.app import app as xfer
from xfer.cli.options import COMMAND, TITLES

ORDER = ["Arguments", *TITLES.values(), "Options", COMMAND]


def commands() -> dict[str, Any]:
    """All commands by name, in the order of `xfer --help`."""
    return dict(typer.main.get_command(xfer).commands)  # type: ignore[attr-defined]


def described(name: str) -> Iterator[str]:
    """Lines of Markdown: what a command does, how it is called, its arguments, and its options in their groups."""
    command = commands()[name]
    context = command.make_context(f"xfer {name}", [], resilient_parsing=True)
    yield from ["```text", command.get_usage(context).removeprefix("Usage: "), "```", ""]
    yield from [plain(command.help or "").strip(), ""]
    groups: dict[str, list[Any]] = {}
    for parameter in command.get_params(context):
        if not parameter.hidden and parameter.name != "help":
            title = "Arguments" if is_argument(parameter) else parameter.rich_help_panel or "Options"
            groups.setdefault(title, []).append(parameter)
    yield from [f"``````{{program}} xfer {name}", "``````", ""]
    for title in sorted(groups, key=lambda each: ORDER.index(each)):
        yield from [f"**{title}**", ""]
        for parameter in groups[title]:
            yield from entry(parameter, context)


def is_argument(parameter: Any) -> bool:
    """Whether it is given by position."""
    return bool(parameter.param_type_name == "argument")


def entry(parameter: Any, context: Any) -> Iterator[str]:
    """One argument or option, as Sphinx's directive `option`, which gives it an anchor and a place in the index."""
    names, text = parameter.get_help_record(context)
    yield from [f"``````{{option}} {names}", plain(text), "``````", ""]


def plain(text: str) -> str:
    """Help as Markdown: `[` without the escape of rich, and `<`, `*` as they are."""
    text = text.replace("\\[", "[")
    parts = text.split("`")
    parts[::2] = [part.replace("<", "\\<").replace("*", "\\*").replace("[", "\\[") for part in parts[::2]]
    return "`".join(parts)


class Command(SphinxDirective):
    """`{command} NAME`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of the Markdown that `described` makes."""
        return self.parse_text_to_nodes("\n".join(described(self.arguments[0])))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command", Command)
    return {"parallel_read_safe": True}
