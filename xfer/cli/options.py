"""Command-line options, made from the fields of the settings, so that none is written twice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from xfer.errors import UsageError
from xfer.specs.option import Panel, Settings, about
from xfer.specs.settings import RunSettings
from xfer.workflows.config import read_toml, run_settings

TITLES: dict[Panel, str] = {
    "common": "Common options",
    "model": "Model",
    "data": "Data",
    "training": "Training",
    "imbalance": "Class imbalance",
    "evaluation": "Evaluation",
    "checkpoints": "Checkpoints and logs",
    "hardware": "Hardware and speed",
}
COMMAND = "This command"

Config = Annotated[
    Path | None,
    typer.Option(help="an xfer.toml with the same names; options override it", rich_help_panel=TITLES["common"]),
]
Json = Annotated[
    bool, typer.Option("--json", help="print one JSON document on stdout and nothing else", rich_help_panel=COMMAND)
]


def settings_options(
    settings: type[Settings] = RunSettings, *, without: Collection[str] = (), only: Collection[str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of a settings class, and `--config`.

    The command is called with `given`, the values that the user or the file gave, and with its own parameters.

    Args:
        settings: the class; the field `data` becomes the argument DATA.
        without: fields to leave out.
        only: fields to take; None takes all.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        taken = {*without, *(p.name for p in own)}
        fields = {
            name: field for name, field in settings.options() if name not in taken and (only is None or name in only)
        }

        @functools.wraps(command)
        def run(config: Path | None = None, **values: Any) -> None:
            flags = {name: values.pop(name) for name in fields}
            given = {**read_toml(config), **{k: v for k, v in flags.items() if v is not None}}
            command(given=given, **values)

        config = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config)
        last = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        parameters = [*(_parameter(name, field) for name, field in fields.items()), config, *last]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def require_data(settings: Mapping[str, Any], data: str | None = None) -> None:
    """Check that data were given, as an argument or in the file.

    Raises:
        UsageError: they were not.
    """
    if data is None and "data" not in settings:
        raise UsageError("DATA is missing: give a folder, a manifest or 'digits'")


def checked(given: dict[str, Any], **more: Any) -> RunSettings:
    """The settings that were given, in the file or as options."""
    return run_settings(given, more)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind = _type(field.annotation)
    names = get_args(kind) if get_origin(kind) is Literal else ()
    listed = f" ({', '.join(names)})" if names else ""
    text = f"{field.description or ''}{listed}{_default(field)}".replace("[", "\\[")
    panel = TITLES[about(field).panel]
    if name == "data":
        info: Any = typer.Argument(help=text, show_default=False)
    else:
        # The names stand in the text: as the option's type they would take half of a narrow terminal from it.
        metavar = "<name>" if names else None
        info = typer.Option(help=text, show_default=False, rich_help_panel=panel, metavar=metavar)
    annotation = Annotated[Union[kind, None], info]  # type: ignore[valid-type]  # noqa: UP007
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _type(annotation: Any) -> Any:
    """The type of an option: `str` for lists, tables and alternatives, which the settings parse."""
    kinds = [kind for kind in _alternatives(annotation) if kind is not type(None)]
    if len(kinds) > 1 or get_origin(kinds[0]) in (tuple, dict):
        return str
    return kinds[0]


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    parts = get_args(annotation)
    if get_origin(annotation) in (tuple, dict, Literal) or not parts:
        return (annotation,)
    return tuple(kind for part in parts for kind in _alternatives(part))


def _default(field: FieldInfo) -> str:
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is None or default == () or default == {} or default is False:
        return ""
    shown = ",".join(f"{part:.3g}" for part in default) if isinstance(default, tuple) else default
    return f" [default: {shown}]"
