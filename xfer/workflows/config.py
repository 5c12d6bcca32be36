"""Settings from `xfer.toml` and from the command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfer.errors import UsageError
from xfer.specs.settings import RunSettings

_LARGEST = 1 << 20


def read_toml(path: str | Path | None) -> dict[str, Any]:
    """The keys of an `xfer.toml`; none for no path.

    Raises:
        UsageError: no such file, or not TOML.
    """
    if path is None:
        return {}
    try:
        if (size := Path(path).stat().st_size) > _LARGEST or not Path(path).is_file():
            raise UsageError(f"{path} is no configuration: expected a file of at most {_LARGEST:,} bytes, got {size:,}")
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UsageError:
        raise
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from None


def toml_text(settings: Mapping[str, Any]) -> str:
    """A document of settings as an `xfer.toml`; options that are None are left out.

    Raises:
        UsageError: a name that is no Unicode, which TOML cannot hold.
    """
    lines = [f"{name} = {_toml(value)}\n" for name, value in settings.items() if value is not None]
    try:
        "".join(lines).encode()
    except UnicodeEncodeError:
        raise UsageError("a name in the settings is no Unicode, which TOML cannot hold: rename the file") from None
    return "".join(lines)


def _toml(value: Any) -> str:
    """A value of JSON as TOML has it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def run_settings(*layers: Mapping[str, Any]) -> RunSettings:
    """Settings from layers of values, later ones overriding earlier ones; None means not given.

    Raises:
        UsageError: a value that is missing or out of bounds. UnknownNameError: an option that does not exist.
    """
    return RunSettings.of({key: value for layer in layers for key, value in layer.items() if value is not None})
