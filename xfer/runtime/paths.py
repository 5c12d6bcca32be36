"""Where downloads and cached features are stored."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from xfer.errors import UsageError

_URL = re.compile(r"(?!hf:)[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # a Path has one of two slashes; hf: is the hub


def expanded(path: str | Path) -> Path:
    """A path with `~` for the user's home, as shells have it.

    Raises:
        UsageError: it is a URL, which is taken for data and for runs alone.
    """
    if _URL.match(str(path)):
        raise UsageError(f"{path} is a URL: give a path on this machine")
    with suppress(RuntimeError):  # a file whose name begins with a ~ that is nobody's
        return Path(path).expanduser()
    return Path(path)


def hub_cache() -> Path:
    """The folder of huggingface_hub's cache, by the same variables: `$HF_HUB_CACHE`, else `hub` in `$HF_HOME`."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return expanded(os.path.expandvars(given or Path(home, "hub")))


def features_dir() -> Path:
    """The folder of the feature cache: `$XFER_FEATURES`, else `features` beside the downloaded weights."""
    given = os.environ.get("XFER_FEATURES")
    return Path(given).expanduser() if given else cache_dir().parent / "features"


def cache_dir() -> Path:
    """The folder of downloaded weights: `weights` in `$XFER_HOME`, else in the user's cache folder for xfer."""
    if home := os.environ.get("XFER_HOME"):
        return Path(home).expanduser() / "weights"
    return user_cache_path("xfer", appauthor=False, opinion=False) / "weights"
