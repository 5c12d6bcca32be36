"""The search space of `xfer tune`: for each option a range, or choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xfer.errors import UnknownNameError, UsageError
from xfer.specs.option import about
from xfer.specs.settings import DataSettings, RunSettings

# Another value makes values of trials incomparable, or is one for the whole study.
_FIXED = {*DataSettings.model_fields, "seed", "backend", "monitor", "thresholds", "calibrate"}
_FACTOR = 10  # from which on a range is sampled on a logarithmic scale

Value = bool | int | float | str


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; on a logarithmic scale if `high` is at least ten times `low`."""

    low: float
    high: float
    integer: bool

    @property
    def log(self) -> bool:
        """Whether the scale is logarithmic."""
        return self.low > 0 and self.high >= _FACTOR * self.low

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of these values."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return "|".join(map(str, self.values))


Space = Mapping[str, Range | Choice]


def parse_space(given: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Range | Choice]:
    """A space from texts or lists by option.

    Args:
        given: "LOW..HIGH" for a range; "A|B|C", or a list, for choices.
        base: the other settings of the run, in which no option of the space may be.

    Raises:
        UnknownNameError: an option that does not exist. UsageError: one that cannot be searched, is given as well, or a
            value out of its bounds.
    """
    if not given:
        raise UsageError("the search space is empty: give an option with a range or choices, such as lr=1e-4..1e-1")
    return {name: _parse(name, given[name], base) for name in sorted(given)}


def _parse(name: str, given: Any, base: Mapping[str, Any]) -> Range | Choice:
    if name not in RunSettings.model_fields:
        raise UnknownNameError("option in the search space", name, searchable())
    if name not in searchable():
        raise UsageError(f"option {name} cannot be searched: it is one for all trials")
    if name in base:
        raise UsageError(f"option {name} is given and in the search space: leave it out of one")
    text = isinstance(given, str)
    if text and ".." in given:
        return _range(name, given, base)
    parts = [part for part in given.split("|") if part] if text else given
    if not isinstance(parts, (list, tuple)) or len(parts) < 2:
        raise UsageError(f"search space {name}={given}: expected LOW..HIGH, or two or more choices A|B")
    values = tuple(_value(name, part, base) for part in parts)
    if len(set(values)) < len(values):
        raise UsageError(f"search space {name}={given}: a choice is given twice")
    return Choice(values)


def _range(name: str, given: str, base: Mapping[str, Any]) -> Range:
    ends = [_value(name, part.strip(), base) for part in given.split("..", 1)]
    numbers = [end for end in ends if isinstance(end, (int, float)) and not isinstance(end, bool)]
    if len(numbers) < 2:
        raise UsageError(f"search space {name}={given}: {name} is no number: give choices A|B")
    low, high = numbers
    if not low < high:
        raise UsageError(f"search space {name}={given}: give the lower end first")
    return Range(low, high, all(isinstance(number, int) for number in numbers))


def _value(name: str, given: Any, base: Mapping[str, Any]) -> Value:
    """A value as the settings have it, or as text where that is a list or a table."""
    if not isinstance(given, (bool, int, float, str)):
        raise UsageError(f"search space {name}: {given!r} is no text or number: write it as on the command line")
    found = getattr(RunSettings.of({**base, name: given}), name)
    return found if isinstance(found, (bool, int, float, str)) else str(given)


def searchable() -> list[str]:
    """Names of the options that may be in a space."""
    return [n for n, field in RunSettings.model_fields.items() if about(field).result and n not in _FIXED]


def parse_words(words: list[str]) -> dict[str, str]:
    """The space of `--space NAME=VALUES ...`.

    Raises:
        UsageError: a word without "=", or a name given twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, values = word.partition("=")
        if not equals or not name or not values:
            raise UsageError(f"--space {word}: expected NAME=LOW..HIGH or NAME=A|B")
        if (option := name.strip().replace("-", "_")) in found:
            raise UsageError(f"--space {word}: {name} is given twice")
        found[option] = values
    return found


def default_space(config: RunSettings, blocks: int) -> dict[str, Any]:
    """What is searched if no space is given: options that are not given themselves.

    Learning rate, weight decay and label smoothing; with fine-tuning also its rate, how many blocks it trains, and
    augmentation, which without fine-tuning would have every epoch of every trial pass over the images.

    Args:
        config: of the run.
        blocks: below the head.
    """
    found: dict[str, Any] = {"lr": "1e-4..1e-1", "weight_decay": "1e-5..1e-1"}
    if config.loss == "cross-entropy" and not config.tasks:
        found["label_smoothing"] = "0..0.2"
    if config.fine_tune:
        if config.epochs:  # else it is lr that decides it
            found["fine_tune_lr"] = "1e-5..1e-2"
        if blocks > 1:
            found["unfreeze"] = f"1..{min(blocks, 3)}"
        if config.resample == "none":
            found["augment"] = ["none", "light"]
    return {} if config.estimator else {n: v for n, v in found.items() if n not in config.model_fields_set}
