"""The architecture that tensors belong to, for the message where they do not fit the one that was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xfer.errors import XferError
from xfer.models.backend import get_backend
from xfer.models.engine import Engine
from xfer.models.spec import ModelSpec
from xfer.specs.head import Head
from xfer.weights import by_children, without_prefix
from xfer.zoo import Card, cards, imagenet_classes
from xfer.zoo.foreign import refusal

_BY_SIZE = 24  # cards whose names are compared
_BUILT = 3  # of which so many are built for their shapes
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class _Candidate:
    """A card, the file's tensors by its names without the head, and how well they suit before it is built."""

    card: Card
    tensors: dict[str, np.ndarray]
    known: float
    distance: float


def nearest(engine: Engine, arrays: Mapping[str, np.ndarray], asked: Card) -> str:
    """The end of a message: the architecture of the zoo whose names and shapes most tensors have.

    Cards are compared by their number of parameters, then by their names, and the best three are built for the shapes
    of their tensors, which takes a second or two.

    Args:
        engine: the backend that builds.
        arrays: of the file, as it has them.
        asked: the card that they do not fit.
    """
    if reason := refusal(asked.family, arrays):
        return f"; these are {reason}"
    keras = any("/" in name for name in arrays)
    size = sum(array.size for name, array in arrays.items() if not name.endswith(_STATISTICS))
    others = [card for card in cards() if card.name != asked.name and bool(card.convert) == keras]
    others.sort(key=lambda card: abs(math.log(max(size, 1) / card.parameters)))
    ranked = [_candidate(card, arrays) for card in others[:_BY_SIZE]]
    ranked.sort(key=lambda found: (-round(found.known, 1), found.distance))
    best, share = None, 0.0
    for candidate in ranked[:_BUILT]:
        fits = _fits(engine, candidate, arrays)
        if fits > share:
            best, share = candidate.card.name, fits
        if share == 1.0:
            return f"; it fits {best}"
    if best is None:
        return f"; no architecture of the zoo has these names, the nearest in size is {others[0].name}"
    return f"; the nearest architecture is {best}, of which {share:.0%} of the tensors are there"


def _candidate(card: Card, arrays: Mapping[str, np.ndarray]) -> _Candidate:
    try:
        to = card.names(arrays)
        blocks = len(card.block_names)
        inner = None if card.convert else without_prefix(arrays, lambda name: card.place_of(to(name)), blocks, "")
        named = card.canonical(inner.arrays if inner else arrays)
    except (XferError, ValueError):  # names or layouts of something else
        return _Candidate(card, {}, 0.0, math.inf)
    tensors = {name: array for name, array in named.items() if not name.startswith(f"{card.head}.")}
    known = {name: array for name, array in tensors.items() if card.place_of(name)}
    size = sum(array.size for name, array in (known or arrays).items() if not name.endswith(_STATISTICS))
    wanted = card.parameters - (card.feature_dim + 1) * len(imagenet_classes())
    return _Candidate(card, known, len(known) / max(len(tensors), 1), abs(math.log(max(size, 1) / wanted)))


def _fits(engine: Engine, candidate: _Candidate, arrays: Mapping[str, np.ndarray]) -> float:
    """The share of the architecture's tensors, its head left out, that the file has in name and shape."""
    card = candidate.card
    try:
        shapes = get_backend(engine).build(ModelSpec(card, Head(), imagenet_classes(), card.preprocessing)).shapes()
    except XferError:  # that this backend does not have
        return 0.0
    if by_children(arrays, shapes, card.head):
        return 1.0
    beside = (f"{card.head}.", *(f"{branch.name}." for branch in card.auxiliary))
    body = {name: shape for name, shape in shapes.items() if not name.startswith(beside)}
    same = sum(name in candidate.tensors and candidate.tensors[name].shape == body[name] for name in body)
    return same / len(body)
