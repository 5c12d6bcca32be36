"""Settings from `xfer.toml` and from the command line."""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xfer.errors import UnknownNameError, UsageError
from xfer.specs.settings import TrainConfig

_LARGEST = 1 << 20


def read_toml(path: str | Path) -> dict[str, Any]:
    """The keys of an `xfer.toml`.

    Raises:
        UsageError: no such file, or not TOML.
    """
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


def train_config(*layers: Mapping[str, Any]) -> TrainConfig:
    """A checked configuration from layers of keys, later ones overriding earlier ones; None means not given.

    Raises:
        UsageError: a key that is missing or has a value that cannot be. UnknownNameError: a key that does not exist.
    """
    merged = {key: value for layer in layers for key, value in layer.items() if value is not None}
    for key in merged:
        if key not in TrainConfig.model_fields:
            raise UnknownNameError("option", key, TrainConfig.model_fields)
    try:
        return TrainConfig.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f" is {reprlib.repr(first['input'])}"
        raise UsageError(f"option {where}{given}: {first['msg'].lower()}") from None
