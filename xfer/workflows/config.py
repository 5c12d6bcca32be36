"""Settings from `xfer.toml` and from the command line."""

from __future__ import annotations

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


def run_settings(*layers: Mapping[str, Any]) -> RunSettings:
    """Settings from layers of values, later ones overriding earlier ones; None means not given.

    Raises:
        UsageError: a value that is missing or out of bounds. UnknownNameError: an option that does not exist.
    """
    return RunSettings.of({key: value for layer in layers for key, value in layer.items() if value is not None})
