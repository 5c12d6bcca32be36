"""The result of a search: its trials, and the best of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xfer.runtime.text import path_text

if TYPE_CHECKING:
    from rich.table import Table

OPTIMISTIC = (
    "The value of the best trial is optimistic, because the trial was chosen by it: judge the trained model on images "
    "that nothing was chosen by, such as a test split."
)


@dataclass(frozen=True)
class Trial:
    """One trial.

    Args:
        number: from 0.
        state: "complete"; "pruned", ended after some epochs because the median of the other trials was better then; or
            "failed", where a loss was not finite.
        value: the metric on validation; None of one that failed.
        params: option by name.
        epochs: the metric after each epoch, from 1.
        seconds: that it took.
        reason: why it failed.
    """

    number: int
    state: Literal["complete", "pruned", "failed"]
    value: float | None
    params: dict[str, Any]
    epochs: dict[int, float]
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Tuning:
    """A study.

    Args:
        trials: in their order.
        metric: what was optimized, on validation.
        higher: whether greater is better.
        space: what was searched, as text by option.
        importance: share of the variance of the values that each option explains (fANOVA, Hutter et al. 2014); empty
            where there are too few trials.
        images: on which the trials were validated.
        untouched: images of the test split, which no trial looked at.
        settings: of the best, all options of `xfer train`.
        path: the folder.
        command: that trains the best.
    """

    trials: tuple[Trial, ...]
    metric: str
    higher: bool
    space: dict[str, str]
    importance: dict[str, float]
    images: int
    untouched: int
    settings: dict[str, Any]
    path: Path
    command: str

    @property
    def best(self) -> Trial:
        """The complete trial with the best value, the first of equals."""
        return best_of(self.trials, higher=self.higher)

    def __repr__(self) -> str:
        chosen = ", ".join(f"{name}={shown(value)}" for name, value in self.best.params.items())
        value = f"best {self.metric} {self.best.value:.4f}"
        return f"Tuning({len(self.trials)} trials; {value}: {chosen}; {path_text(self.path)})"

    def document(self) -> dict[str, Any]:
        """The study as `xfer tune --json` prints it."""
        return {
            "metric": self.metric,
            "higher_is_better": self.higher,
            "best": self.best.number,
            "value": self.best.value,
            "params": self.best.params,
            "trials": [asdict(each) for each in self.trials],
            "space": self.space,
            "importance": self.importance,
            "validation_images": self.images,
            "settings": self.settings,
            "train": self.command,
        }

    def to_json(self) -> str:
        """The document as text."""
        return json.dumps(self.document(), indent=1)

    def ranked(self) -> list[Trial]:
        """Trials from the best to the worst; those that were pruned come after those that are complete, then failed."""
        order = {"complete": 0, "pruned": 1, "failed": 2}
        sign = -1 if self.higher else 1
        return sorted(self.trials, key=lambda t: (order[t.state], 0 if t.value is None else sign * t.value, t.number))

    def table(self) -> Table:
        """The trials for the screen, the best first."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None)
        for title in ("trial", self.metric.removeprefix("val_"), *self.space, "s", ""):
            table.add_column(title, justify="right")
        for each in self.ranked():
            value = "" if each.value is None else f"{each.value:.4f}"
            params = [shown(each.params[name]) for name in self.space]
            state = "" if each.state == "complete" else each.state
            table.add_row(*map(Text, (str(each.number), value, *params, f"{each.seconds:.1f}", state)))
        return table


def best_of(trials: tuple[Trial, ...], *, higher: bool) -> Trial:
    """The complete trial with the best value, the first of equals."""
    complete = [each for each in trials if each.state == "complete" and each.value is not None]
    return (max if higher else min)(complete, key=lambda each: each.value or 0.0)


def shown(value: Any) -> str:
    """A value of an option in a table."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
