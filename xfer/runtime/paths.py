"""Where downloads and cached features are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def features_dir() -> Path:
    """Where rows are kept: `$XFER_FEATURES`, else `features` beside the downloaded weights."""
    given = os.environ.get("XFER_FEATURES")
    return Path(given).expanduser() if given else cache_dir().parent / "features"


def cache_dir() -> Path:
    """Where downloads are kept: `$XFER_HOME`, else the system's place for caches; the folder `weights` in it."""
    if home := os.environ.get("XFER_HOME"):
        return Path(home).expanduser() / "weights"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home()))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "xfer" / "weights"
