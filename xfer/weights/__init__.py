"""Weights: found, fetched, verified and read; nothing here executes a pickle."""

from xfer.runtime.paths import cache_dir
from xfer.weights.entry import WeightsEntry
from xfer.weights.fetch import fetch
from xfer.weights.files import beside, read_weights
from xfer.weights.fit import fit
from xfer.weights.h5 import read_h5
from xfer.weights.names import Inner, by_children, without_prefix
from xfer.weights.pth import read_pth
from xfer.weights.source import NAMED, Resolved, published, resolve

__all__ = [
    "NAMED",
    "Inner",
    "Resolved",
    "WeightsEntry",
    "beside",
    "by_children",
    "cache_dir",
    "fetch",
    "fit",
    "published",
    "read_h5",
    "read_pth",
    "read_weights",
    "resolve",
    "without_prefix",
]
