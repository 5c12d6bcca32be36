"""Converting manifests of earlier versions to the newest format."""

from __future__ import annotations

from typing import Any

# Optimizer, schedule and further settings had fields of their own in a training state.
_SETTINGS = ("clip_norm", "batch_size", "seed", "augment", "sampling", "augment_minority", "mix", "cache_views")


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """The document in the newest format. What makes no sense is left for the check that follows."""
    if document["format"] < 3 and isinstance(state := document.get("training"), dict):
        return document | {"training": _with_settings(state)}
    return document


def _with_settings(state: dict[str, Any]) -> dict[str, Any]:
    """Formats 1 and 2, of xfer 0.1: no `settings`, and `micro_batch_size` was `at_once`."""
    known: dict[str, Any] = {
        name: state[name] for name in ("loss", "rates", "batch_size", "epoch", "step", "fit") if name in state
    }
    settings: dict[str, Any] = {name: state[name] for name in _SETTINGS if name in state}
    for name in ("optimizer", "schedule"):
        if isinstance(spec := state.get(name), dict):
            constants = dict(spec)
            settings |= {name: constants.pop("name", None), **constants}
    if isinstance(rates := state.get("rates"), dict):
        settings["lr"] = rates
    return {**known, "settings": settings, "micro_batch_size": state.get("at_once")}
