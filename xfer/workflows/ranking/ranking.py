"""The result of a ranking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xfer.data.batch import Skipped
from xfer.evaluation.out_of_fold import STRENGTH
from xfer.workflows.ranking.candidates import LeftOut

if TYPE_CHECKING:
    from rich.table import Table

LEVEL = 0.95  # of the intervals
_SHOWN = 8  # names in a line


@dataclass(frozen=True)
class Ranked:
    """One network in the ranking.

    Args:
        model: as it was named, with ":" and the weights where they were.
        backend: the framework.
        logme: mean log evidence of an image, see `xfer.evaluation.logme`; greater is better.
        probe_accuracy: of the cross-validated linear probe.
        interval: Wilson's interval for it, 95 %.
        p_value: of McNemar's test of its probe against that of the first of the ranking, on the same images.
        knn_accuracy: of the five nearest neighbours, leave-one-out.
        seconds_per_image: of a forward pass up to the features, images decoded; see `xfer.workflows.ranking.cost`.
        parameters: of the network with a head for the classes of the data.
        bytes: of its tensors in float32.
        features: their width.
        image_size: input size in pixels.
        precision: that the features were computed in.
        computed: images that went through the network; the features of the others were in the cache.
    """

    model: str
    backend: str
    logme: float
    probe_accuracy: float
    interval: tuple[float, float]
    p_value: float
    knn_accuracy: float
    seconds_per_image: float
    parameters: int
    bytes: int
    features: int
    image_size: int
    precision: str
    computed: int


@dataclass(frozen=True)
class Images:
    """What the networks were ranked on.

    Args:
        source: where the data came from.
        used: images of the training split with a label that can be read, of classes with two or more.
        classes: how many of them have such images.
        folds: of the cross-validation.
        unlabelled: images that were left out because they have no label.
        single: classes that were left out because they have one image.
        skipped: images that cannot be read.
        untouched: images of the other splits, none of which was looked at.
    """

    source: str
    used: int
    classes: int
    folds: int
    unlabelled: int
    single: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    untouched: int

    def notes(self) -> list[str]:
        """What was left out, a line each."""
        found = []
        if self.unlabelled:
            found.append(f"left out, without a label: {_number(self.unlabelled, 'image')}")
        if self.skipped:
            bad = [skipped.name for skipped in self.skipped]
            found.append(f"left out, cannot be read: {_number(len(bad), 'file')}: {_some(bad)}")
        if self.single:
            found.append(f"left out, with one image: {_number(len(self.single), 'class')}: {_some(self.single)}")
        return found


@dataclass(frozen=True)
class Ranking:
    """Networks, the most promising first.

    Args:
        ranked: the networks.
        left_out: those that were not ranked, and why.
        images: that they were ranked on.
        seed: of the folds.
        command: that trains the first.
    """

    ranked: tuple[Ranked, ...]
    left_out: tuple[LeftOut, ...]
    images: Images
    seed: int
    command: str

    @property
    def best(self) -> Ranked:
        """The first."""
        return self.ranked[0]

    def document(self) -> dict[str, Any]:
        """The ranking as `xfer rank --json` prints it."""
        images = asdict(self.images)
        images |= {name: list(images[name]) for name in ("single", "skipped")}
        return {
            "ranking": [{**asdict(each), "interval": list(each.interval)} for each in self.ranked],
            "left_out": [asdict(each) for each in self.left_out],
            "data": images,
            "probe": {"folds": self.images.folds, "C": f"{STRENGTH:g} / features", "seed": self.seed, "level": LEVEL},
            "train": self.command,
        }

    def to_json(self) -> str:
        """The document as text."""
        return json.dumps(self.document(), indent=1)

    def summary(self) -> str:
        """The finding in a sentence."""
        best = self.best
        text = f"{best.model} is the most promising of {len(self.ranked)}" if len(self.ranked) > 1 else best.model
        low, high = best.interval
        return (
            f"{text}: a linear probe on its features is right for {best.probe_accuracy:.1%} ({low:.1%} to {high:.1%})."
        )

    def notes(self) -> list[str]:
        """What was left out, a line each."""
        found = self.images.notes()
        for reason in dict.fromkeys(each.reason for each in self.left_out):
            names = [each.model for each in self.left_out if each.reason == reason]
            found.append(f"not ranked, {reason}: {_some(names)}")
        return found

    def table(self) -> Table:
        """The ranking for the screen."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None)
        for title in ("model", "LogME", "probe, % (95 %)", "k-NN, %", "ms/image", "params"):
            table.add_column(title, justify="left" if title == "model" else "right", no_wrap=True)
        for each in self.ranked:
            cells = (
                each.model,
                f"{each.logme:.4f}",
                f"{100 * each.probe_accuracy:.1f} ({100 * each.interval[0]:.1f} to {100 * each.interval[1]:.1f})",
                f"{100 * each.knn_accuracy:.1f}",
                f"{each.seconds_per_image * 1e3:.3g}",
                f"{each.parameters / 1e6:.3g}M",
            )
            table.add_row(*map(Text, cells))
        return table


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 'es' if what.endswith('s') else 's'}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
