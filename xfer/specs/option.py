"""One option: a field of a settings class, with its help, its panel, its bounds, and whether it changes the result.

The command line, `xfer.toml`, the arguments of `Trainer`, what a checkpoint stores and what a resumed run compares are
all derived from these fields.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from xfer.errors import UnknownNameError, UsageError

T = TypeVar("T")

Panel = Literal["common", "model", "data", "training", "imbalance", "evaluation", "checkpoints", "hardware"]
_SHOWN = 8  # options in a `repr`
PANELS: tuple[Panel, ...] = get_args(Panel)


@dataclass(frozen=True)
class Option:
    """What is known about an option beside its name, type, default and bounds.

    Args:
        panel: the group in which `--help` lists it; "common" comes first.
        result: whether another value can change the result of a run. A run is only resumed with the same values.
        on_resume: whether `Trainer.resume` takes another value than the run's.
    """

    panel: Panel
    result: bool = True
    on_resume: bool = False


def option(
    default: Any,
    help: str,
    *,
    panel: Panel,
    result: bool = True,
    on_resume: bool | None = None,
    **bounds: Any,
) -> Any:
    """A field of a settings class.

    Args:
        default: its default; `...` makes it required.
        help: one line, as `--help` shows it.
        panel: see `Option`.
        result: see `Option`.
        on_resume: see `Option`; by default True for what does not change the result.
        bounds: `gt`, `ge`, `lt`, `le`, as in `pydantic.Field`.
    """
    known: Any = {"panel": panel, "result": result, "on_resume": not result if on_resume is None else on_resume}
    if isinstance(default, dict):
        return Field(default_factory=lambda: dict(default), description=help, json_schema_extra=known, **bounds)
    return Field(default, description=help, json_schema_extra=known, **bounds)


def about(field: FieldInfo) -> Option:
    """The `Option` of a field."""
    assert isinstance(field.json_schema_extra, dict), "every field of a settings class is made by option()"
    return Option(**field.json_schema_extra)  # type: ignore[arg-type]


class Settings(BaseModel):
    """Base of settings classes: frozen, unknown names refused, no NaN and no infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def options(cls) -> Iterator[tuple[str, FieldInfo]]:
        """Names and fields of all options, panel by panel."""
        fields = cls.model_fields.items()
        for panel in PANELS:
            yield from ((name, field) for name, field in fields if about(field).panel == panel)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Settings with these values; options that are not among them have their defaults.

        Raises:
            UnknownNameError: an option that does not exist. UsageError: one that is missing, or a value out of bounds.
        """
        for key in values:
            if key not in cls.model_fields:
                raise UnknownNameError("option", key, cls.model_fields)
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _refusal(max(error.errors(), key=lambda each: len(each["loc"]))) from None

    def __repr__(self) -> str:
        """The options that differ from their defaults."""
        fields = type(self).model_fields
        given = [
            f"{name}={reprlib.repr(getattr(self, name))}"
            for name, field in fields.items()
            if field.is_required() or getattr(self, name) != field.get_default(call_default_factory=True)
        ]
        rest = [f"... {len(given) - _SHOWN} more"] if len(given) > _SHOWN else []
        return f"{type(self).__name__}({', '.join([*given[:_SHOWN], *rest])})"

    def part(self, kind: type[Settings]) -> dict[str, Any]:
        """The values of those fields that another settings class has, too."""
        return {name: getattr(self, name) for name in kind.model_fields if name in type(self).model_fields}

    def document(self) -> dict[str, Any]:
        """The values as JSON has them, as checkpoints and `metrics.json` store them."""
        return self.model_dump(mode="json")

    def deciding(self) -> dict[str, Any]:
        """The document without the options that cannot change the result."""
        fields = type(self).model_fields
        return {name: value for name, value in self.document().items() if about(fields[name]).result}

    def changed(self, before: Mapping[str, Any]) -> list[str]:
        """Options whose values differ from a stored document in a way that can change the result.

        An option that the document lacks, because it was written before the option existed, had its default then.
        """
        fields = type(self).model_fields
        return [
            name
            for name, value in self.deciding().items()
            if value != (before[name] if name in before else _default(fields[name]))
        ]


def _refusal(error: Any) -> UsageError:
    """What pydantic found wrong with a value, in one line."""
    name, value, expected = error["loc"][0], error["input"], error.get("ctx", {})
    match error["type"]:
        case "missing":
            return UsageError(f"option {name} is missing: give it")
        case "literal_error":
            return UnknownNameError(str(name), value, re.findall("'([^']*)'", str(expected["expected"])))
        case "greater_than":
            hint = f"give more than {expected['gt']:g}"
        case "greater_than_equal":
            hint = f"give at least {expected['ge']:g}"
        case "less_than":
            hint = f"give less than {expected['lt']:g}"
        case "less_than_equal":
            hint = f"give at most {expected['le']:g}"
        case "value_error":
            hint = str(expected["error"])
        case _:
            hint = error["msg"].lower()
    return UsageError(f"option {name}={str(value) if isinstance(value, str) else reprlib.repr(value)}: {hint}")


def _default(field: FieldInfo) -> Any:
    """The default of a field as JSON has it."""
    return json.loads(json.dumps(field.get_default(call_default_factory=True), default=str))


def parts(value: object) -> object:
    """A text such as "256,128" as a list of its parts, as the command line gives it; anything else as it is."""
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def pairs(value: object) -> object:
    """A text such as "ant=1,bee=4" as a dictionary, as the command line gives it; anything else as it is.

    Raises:
        UsageError: a part without "=", or a name that is given twice.
    """
    if not isinstance(value, str) or (value and "=" not in value):
        return value
    found: dict[str, str] = {}
    for part in filter(None, value.split(",")):
        name, equals, given = part.rpartition("=")
        if not equals:
            raise UsageError(f"{part!r} has no value: give {part}=...")
        if name in found:
            raise UsageError(f"{name!r} is given twice")
        found[name] = given
    return found


def takes_settings(kind: type[Settings]) -> Callable[[type[T]], type[T]]:
    """Give a class whose `**options` are settings the signature and the docstring that name each of them.

    In the docstring, a line "    <settings>" stands for the list of the options.
    """

    def decorate(cls: type[T]) -> type[T]:
        fields = [*kind.options()]
        lines = [f"        {name}: {field.description}." for name, field in fields]
        cls.__doc__ = (cls.__doc__ or "").replace("        <settings>", "\n".join(lines))
        own = [p for p in signature(cls).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        named = {p.name for p in own}
        more = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=field.get_default(), annotation=field.annotation)
            for name, field in fields
            if name not in named
        ]
        cls.__signature__ = Signature([*own, *more])  # type: ignore[attr-defined]
        return cls

    return decorate
