"""Numbers with units, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NONE = "\N{EN DASH}"

_PHASES = {
    "data": "data",
    "load": "load",
    "head": "head",
    "fine_tune": "fine-tune",
    "evaluate": "evaluate",
    "save": "save",
    "total": "total",
}


def phases(runs: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Titles of the phases that any of these runs has had, "total" last."""
    return {phase: title for phase, title in _PHASES.items() if any(phase in run["seconds"] for run in runs)}


def seconds_text(seconds: float | None) -> str:
    """Seconds with three digits that say something."""
    if seconds is None:
        return NONE
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}"


def bytes_text(number: float | None) -> str:
    """Bytes in MiB or GiB."""
    if not number:
        return NONE
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def difference_text(value: float) -> str:
    """A difference by its order of magnitude."""
    return "0" if value == 0 else f"{value:.1e}" if value < 1e-3 else f"{value:.2g}"


def value_text(value: Any) -> str:
    """The value of an option."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return NONE if value is None else str(value).lower() if isinstance(value, bool) else str(value)
