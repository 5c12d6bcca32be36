"""The options of `train` and `compare`, made from the fields of `TrainConfig`, so that none is written twice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from xfer.errors import UsageError
from xfer.specs.settings import TrainConfig
from xfer.workflows.config import read_toml, train_config

Config = Annotated[Path | None, typer.Option(help="an xfer.toml with the same keys; options override it")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else there")]


def train_options(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command DATA, `--config` and one option for every field of `TrainConfig`.

    The command is called with `given`, the options that the user gave or the file has, and with its own parameters.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        taken = {*without, *(p.name for p in own)}
        fields = [name for name in TrainConfig.model_fields if name not in taken]

        @functools.wraps(command)
        def run(config: Path | None = None, **values: Any) -> None:
            flags = {name: values.pop(name) for name in fields}
            given = {**(read_toml(config) if config else {}), **{k: v for k, v in flags.items() if v is not None}}
            command(given=given, **values)

        config = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config)
        last = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        parameters = [*(_parameter(name) for name in fields), config, *last]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def require_data(settings: Mapping[str, Any], data: str | None = None) -> None:
    """Assert that data were named, as an argument or in the file.

    Raises:
        UsageError: they were not.
    """
    if data is None and "data" not in settings:
        raise UsageError("DATA is missing: give a folder, a manifest or 'digits'")


def checked(given: dict[str, Any], **more: Any) -> TrainConfig:
    """The configuration from what was given, in the file or as options."""
    return train_config(given, more)


def _parameter(name: str) -> inspect.Parameter:
    field = TrainConfig.model_fields[name]
    kind = field.annotation
    if dict in {get_origin(part) for part in (kind, *get_args(kind))} or get_origin(kind) is tuple:
        kind = str  # parts with commas between; TrainConfig splits them
    elif "auto" in {word for part in get_args(kind) for word in get_args(part)}:
        kind = str  # a number, or auto
    elif get_origin(kind) is not None and type(None) in get_args(kind):
        kind = next(x for x in get_args(kind) if x is not type(None))
    default = (
        ""
        if field.is_required() or field.default in (None, ()) or field.default_factory
        else f" [default: {field.default}]"
    )
    text = f"{field.description or ''}{default}".strip()
    if name == "data":
        info: Any = typer.Argument(help=text, show_default=False)
    else:
        info = typer.Option(help=text.replace("[", "\\["), show_default=False)
    annotation = Annotated[Union[kind, None], info]  # type: ignore[valid-type]  # noqa: UP007
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
