"""Which networks are ranked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from xfer.checkpoints.checkpoint import hub_run, is_checkpoint
from xfer.errors import UsageError
from xfer.models.backend import Backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import is_architecture, load
from xfer.runtime.paths import expanded
from xfer.weights.hub import HubAddress, is_hub
from xfer.weights.source import at_hand
from xfer.zoo import card as find_card
from xfer.zoo import cards

_UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}


@dataclass(frozen=True)
class LeftOut:
    """A network that was not ranked, and why."""

    model: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A network to rank.

    Args:
        name: as it was given.
        model: an architecture, or a model that is loaded.
        weights: as in `xfer.load`; None for seeded random ones.
    """

    name: str
    model: str | BaseModel
    weights: str | None = "imagenet"

    @classmethod
    def parse(cls, given: str | BaseModel) -> Candidate:
        """A candidate from "resnet50", "resnet50:IMAGENET1K_V1", "resnet50:none" or "resnet50:path/of/weights.pth".

        Raises:
            UnknownNameError: no such architecture. UsageError: a run.
        """
        if isinstance(given, BaseModel):
            return cls(given.name, given)
        model, _, weights = given.partition(":")
        run = given if not is_architecture(model) else weights
        if is_checkpoint(run):
            raise _refused(run)
        card, file = find_card(model), expanded(weights.partition("#")[0])
        published = ("imagenet", "package", "keras", "none", *(entry.name for entry in card.weights))
        if weights and weights not in published and not is_hub(weights) and not file.exists():
            raise UsageError(
                f"{given!r}: there are no weights {weights!r} of {model}: give a file that is there, or one of "
                f"{', '.join(published)}"
            )
        return cls(given, model, None if weights == "none" else weights or "imagenet")

    def load(self, backend: Backend, classes: Sequence[str], **options: Any) -> BaseModel:
        """The network with a new head for these classes.

        Raises:
            XferError: what `xfer.load` says.
        """
        if isinstance(self.model, BaseModel):
            return self.model
        hub = isinstance(self.weights, str) and is_hub(self.weights) and HubAddress.parse(self.weights).file is None
        if hub and hub_run(str(self.weights)) is not None:
            raise _refused(str(self.weights))
        return load(self.model, backend=backend, weights=self.weights, classes=classes, **options)


def _refused(run: str) -> UsageError:
    return UsageError(
        f"{run!r} is a run, which may have been trained on these images: give an architecture, or one with a weight "
        "file, such as resnet50:weights.pth"
    )


def named(models: Iterable[str | BaseModel]) -> list[Candidate]:
    """Candidates that were named, each once.

    Raises:
        UsageError: none, or one that cannot be.
    """
    given = [models] if isinstance(models, str | BaseModel) else models
    found = [Candidate.parse(each.strip() if isinstance(each, str) else each) for each in given]
    if not found:
        raise UsageError("models is empty: name at least one architecture, or leave it out")
    return list({each.name if isinstance(each.model, str) else id(each.model): each for each in found}.values())


def on_this_machine(backend: Backend, under: int | None) -> tuple[list[Candidate], list[LeftOut]]:
    """The architectures whose best published weights are on this machine, and those that are left out.

    Args:
        backend: which builds them.
        under: the most parameters, as `xfer models` lists them; None for any number.
    """
    found, missing = [], []
    known = set(backend.architectures())
    for card in cards():
        if card.name not in known or not card.weights or (under is not None and card.parameters > under):
            continue
        if at_hand(card.weights[0]):
            found.append(Candidate(card.name, card.name))
        else:
            missing.append(LeftOut(card.name, "its weights are not on this machine"))
    return found, missing


def parse_count(given: str | float) -> int:
    """A number of parameters from "30M", "1.5B" or 30000000.

    Raises:
        UsageError: not a positive number.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([KMB]?)", str(given).strip().upper())
    count = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if count < 1:
        raise UsageError(f"under={given}: give a number of parameters, such as 30M")
    return count
