"""The result: what each part moves, what all of them move, and what is left unexplained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from xfer.runtime.text import one_line
from xfer.workflows.differences.interval import Estimate

if TYPE_CHECKING:
    from rich.table import Table

Metric = Literal["accuracy", "loss"]
METRICS: tuple[Metric, ...] = get_args(Metric)
SHOWN: dict[Metric, tuple[float, int]] = {"accuracy": (100.0, 2), "loss": (1.0, 4)}  # times, and to how many digits
_SEEN = 5e-5  # what these digits show
_NAMED = 5  # parts in a sentence


@dataclass(frozen=True)
class Effect:
    """What an exchange moves.

    Args:
        name: of the part; "all together", or "unexplained".
        before, after: the two habits in words.
        source: where they are written.
        accuracy, loss: difference from the runs with nothing exchanged, at the same seed, on the validation images.
    """

    name: str
    before: str
    after: str
    source: str
    accuracy: Estimate
    loss: Estimate

    def __repr__(self) -> str:
        return f"Effect({self.name}: accuracy {self.text('accuracy')} points, loss {self.text('loss')})"

    def of(self, metric: Metric) -> Estimate:
        """What is moved of a metric."""
        return self.accuracy if metric == "accuracy" else self.loss

    def text(self, metric: Metric) -> str:
        """The same as tables show it, accuracy in points."""
        return self.of(metric).text(*SHOWN[metric])


@dataclass(frozen=True)
class NotApplied:
    """A part that the run does not have, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Images:
    """The data.

    Args:
        source: where they are.
        train, val: how many to train on and to measure with.
    """

    source: str
    train: int
    val: int


@dataclass(frozen=True)
class Gap:
    """What each difference between the habits of two frameworks is worth in one engine.

    Args:
        before, after: the habits, "torch" and "keras".
        backend: the engine.
        model: the network.
        trained_with: the habits that its weights were trained with, by part.
        images: the data.
        seeds: of the runs.
        settings: of the runs, without their seed.
        accuracy, loss: of the runs with nothing exchanged, by seed, on the validation images.
        effects: of the parts, one exchanged at a time.
        together: all of them exchanged.
        unexplained: `together` less the sum of `effects`.
        not_applied: the other parts.
    """

    before: str
    after: str
    backend: str
    model: str
    trained_with: Mapping[str, str]
    images: Images
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    accuracy: tuple[float, ...]
    loss: tuple[float, ...]
    effects: tuple[Effect, ...]
    together: Effect
    unexplained: Effect
    not_applied: tuple[NotApplied, ...]

    def __repr__(self) -> str:
        return f"Gap({one_line(self.model, 40)} on {self.backend}, {len(self.seeds)} seeds\n  {self.summary()})"

    @property
    def noise(self) -> tuple[float, float]:
        """Standard deviation of accuracy and loss between the seeds, with nothing exchanged."""
        return float(np.std(self.accuracy, ddof=1)), float(np.std(self.loss, ddof=1))

    @property
    def rows(self) -> tuple[Effect, ...]:
        """Parts, what is unexplained, and all together."""
        return (*self.effects, self.unexplained, self.together)

    def finding(self, effect: Effect) -> str:
        """What an effect moves: what is less than the standard deviation between seeds in parentheses."""
        moved = [name for name in METRICS if not effect.of(name).within_noise and abs(effect.of(name).mean) >= _SEEN]
        return ", ".join(name if self.is_clear(effect, name) else f"({name})" for name in moved) or "within noise"

    def is_clear(self, effect: Effect, metric: Metric) -> bool:
        """Whether an effect is neither within noise nor less than the standard deviation between seeds."""
        estimate = effect.of(metric)
        return not estimate.within_noise and abs(estimate.mean) >= dict(zip(METRICS, self.noise, strict=True))[metric]

    def summary(self) -> str:
        """The finding in a sentence."""
        moved = [each for each in self.effects if self.is_clear(each, "accuracy")]
        moved.sort(key=lambda each: -abs(each.accuracy.mean))
        named = ", ".join(f"{e.name} {100 * e.accuracy.mean:+.1f}" for e in moved[:_NAMED])
        named += f" and {len(moved) - _NAMED} more" if len(moved) > _NAMED else ""
        whole = self.together.accuracy
        return (
            f"from the habits of {self.before} to those of {self.after}, accuracy moves by "
            f"{whole.text(100, 1)} points: {named or 'no part by more than seeds do'}"
        )

    def document(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {**asdict(self), "noise": dict(zip(METRICS, self.noise, strict=True))}

    def to_json(self) -> str:
        """The document as text."""
        return json.dumps(self.document(), indent=1)

    def notes(self) -> list[str]:
        """What the weights were trained with, the noise, and the parts that were not trained, a line each."""
        accuracy, loss = self.noise
        own = ", ".join(f"{name} {value}" for name, value in self.trained_with.items())
        return [
            f"{self.model}: trained with {own}",
            f"{self.before}: accuracy {100 * np.mean(self.accuracy):.2f} %, loss {np.mean(self.loss):.4f}; standard "
            f"deviation between {len(self.seeds)} seeds {100 * accuracy:.2f} points and {loss:.4f}",
            "±: 95 % interval, paired over the seeds. Within noise: it holds 0. In parentheses: less than seeds differ",
            *(f"{each.name} does not apply: {each.reason}" for each in self.not_applied),
        ]

    def table(self) -> Table:
        """The effects for the screen."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None)
        for title in ("part", "accuracy, points", "loss", "moves"):
            table.add_column(title, justify="left" if title in ("part", "moves") else "right", no_wrap=True)
        for each in self.rows:
            cells = (each.name, *map(each.text, METRICS), self.finding(each))
            table.add_row(*map(Text, cells))
        return table


def difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Of numbers at the same seeds."""
    return Estimate.of([b - a for a, b in zip(values, others, strict=True)])
