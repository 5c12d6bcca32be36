"""Weights of a file or of a published entry, and the tensors of a model from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.checkpoints.manifest import MANIFEST
from xfer.errors import UsageError, WeightsError
from xfer.models.base_model import BaseModel
from xfer.models.nearest import nearest
from xfer.models.spec import ModelSpec
from xfer.runtime.progress import say, silence
from xfer.specs.initialization import initial_weights
from xfer.specs.names import class_names
from xfer.specs.preprocessing import Preprocessing
from xfer.weights import Resolved, beside, by_children, fit, published, read_weights, resolve, without_prefix
from xfer.weights.hub import HubAddress, WeightsSource
from xfer.weights.positions import resized
from xfer.zoo import Card, cards, imagenet_classes
from xfer.zoo import card as find_card
from xfer.zoo.foreign import conflict
from xfer.zoo.keras_layers import card_of_layers
from xfer.zoo.published import TIMM_FAMILIES

_SHOWN = 3


@dataclass(frozen=True)
class Pretrained:
    """Tensors, and what they were trained for.

    Args:
        card: the architecture; for weights of Keras that of keras.applications' network.
        tensors: by canonical name, as far as the names of the file are known.
        preprocessing: of the images.
        source: for messages.
        raw: as a user's file has them; nothing for what xfer or a publisher has written.
        origin: the file on the hub, if it is from there.
        again: what reads the same tensors again, as `xfer.load` takes it; None where they may be gone.
    """

    card: Card
    tensors: dict[str, np.ndarray]
    preprocessing: Preprocessing
    source: str
    raw: Mapping[str, np.ndarray] = field(default_factory=dict)
    origin: WeightsSource | None = None
    again: str | None = None


def read(card: Card, weights: str | Path | None, new: bool) -> Pretrained | None:
    """What `xfer.load` was given as weights; None to draw them.

    Args:
        card: the architecture that is wanted.
        weights: see `xfer.load`.
        new: whether a new head will replace the one that the weights have.

    Raises:
        WeightsError, UnknownNameError: see `read_weights` and `resolve`.
        UsageError: no new head, and the weights have none that tells classes apart.
    """
    if weights is None:
        return None
    entry = published(weights, card.weights, model=card.name)
    if entry is not None and entry.features_only and not new:
        raise _no_classes(f"the weights {entry.name} of {card.name}")
    found = resolve(weights, card.weights, model=card.name)
    raw = read_weights(found.path, safetensors=found.source is not None)
    if found.entry is None:
        of_user = _of_user(card, raw, str(weights), beside(found.path))
        outputs = of_user.tensors.get(f"{card.head}.weight")
        if not new and card.projection and outputs is not None and outputs.shape[:1] == (card.projection,):
            raise _no_classes(str(weights))
        return replace(of_user, origin=found.source, again=_again(found))
    preprocessing = card.preprocessing_for(found.entry.name)
    tensors, again = card.canonical(raw), _again(found)
    return Pretrained(card, tensors, preprocessing, str(weights), origin=found.source, again=again)


def read_again(card: Card, weights: str) -> dict[str, np.ndarray]:
    """The tensors of weights that `Pretrained.again` names, by canonical name; float16 is widened to float32.

    Raises:
        WeightsError: they are not at hand.
    """
    with silence():
        found = read(card, weights, True)
    assert found is not None
    return {n: array.astype(np.float32) if array.dtype == np.float16 else array for n, array in found.tensors.items()}


def _again(found: Resolved) -> str | None:
    if found.source is not None:
        return str(HubAddress(found.source.repo, found.source.commit, found.source.file))
    if found.entry is not None:
        return found.entry.name
    path = found.path.absolute()  # a file of a run is replaced when the run is saved again
    return None if (path.parent / MANIFEST).exists() else str(path)


def _no_classes(weights: str) -> UsageError:
    return UsageError(f"{weights} give features and no classes: a new head is needed, give classes=")


def classes(weights: Pretrained | None) -> tuple[str, ...]:
    """Classes of the network before a new head is put on it: those that its weights have."""
    bias = weights.tensors.get(f"{weights.card.head}.bias") if weights else None
    return imagenet_classes() if bias is None or bias.ndim != 1 else known_classes(len(bias))


def known_classes(number: int) -> tuple[str, ...]:
    """ImageNet's names for 1,000 classes, else "0" to "K-1"."""
    return imagenet_classes() if number == len(imagenet_classes()) else class_names(number)


def fitted(weights: Pretrained, model: BaseModel, new: str | None, seed: int) -> dict[str, np.ndarray]:
    """All tensors of a model that was built for these weights; what of a user's file is not used is said on stderr.

    Args:
        weights: that were read.
        model: whose tensors are wanted.
        new: what the head tells apart that will replace the one that the weights have; None to keep that.
        seed: of tensors that the weights need not have.

    Raises:
        WeightsError: see `fit`.
    """
    shapes, spec, head = model.shapes(), model.spec, model.card.head
    tensors = weights.tensors
    if weights.raw and sum(name in shapes for name in tensors) * 2 < len(shapes):
        numbered = by_children(weights.raw, shapes, head)
        if numbered is not None:
            tensors = numbered
            say(f"{weights.source}: read by the numbers of its layers, without its head")
    if new is not None:
        tensors = _with_new_head(tensors, spec, weights, new, seed)
    placed = resized(tensors, shapes, weights.card.positions, weights.card.windows)
    if placed.grids:
        name, (before, after) = next(iter(placed.grids.items()))
        what = "windows" if weights.card.windows else f"{name}"
        sides = f"from {before} x {before} to {after} x {after} places"
        say(f"{weights.source}: {what} resized {sides}, for {spec.preprocessing.size} pixels")
        model.resized = before, after
    return fit(
        _with_auxiliary(placed.arrays, spec, shapes, seed),
        shapes,
        source=weights.source,
        model=spec.card.name,
        head=head,
        hint=lambda: nearest(model.backend, weights.raw, spec.card) if weights.raw else "",
    )


def _of_user(card: Card, raw: dict[str, np.ndarray], source: str, config: Mapping[str, Any]) -> Pretrained:
    """A file with the names of any tool, and what a `config.json` beside it says."""
    if any("/" in name for name in raw):
        card, tensors = card_of_layers(card, raw)
        unknown = tuple(name for name in tensors if card.place_of(name) is None)
        if unknown and len(unknown) * 2 < len(tensors):
            say(f"{source}: left out what {card.name} does not have: {_some(unknown)}")
            tensors = {name: array for name, array in tensors.items() if name not in unknown}
        return Pretrained(card, tensors, card.preprocessing, source, raw)
    if reason := conflict(card.family, config) or _another(card, config):
        raise WeightsError(f"{source} does not fit {card.name}: {reason}")
    to = card.names(raw)
    inner = without_prefix(raw, lambda name: card.place_of(to(name)), len(card.block_names), source)
    if inner.prefix or inner.others:
        others = f", and {len(inner.others)} tensors outside of it: {_some(inner.others)}" if inner.others else ""
        say(f"{source}: left out the prefix {inner.prefix!r}{others}")
    return Pretrained(card, card.canonical(inner.arrays), _recipe(card, source, config), source, raw)


def _recipe(card: Card, source: str, config: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of the published weights that a `config.json` of timm's names; by default that of the best."""
    of_weights = config.get("pretrained_cfg")
    tag = of_weights.get("tag") if isinstance(of_weights, dict) else None
    if isinstance(tag, str) and tag in card.variants and config.get("architecture") == card.name:
        return card.variants[tag]
    kinds = {(recipe.mean, recipe.std) for recipe in card.variants.values()}
    if card.family in TIMM_FAMILIES and len(kinds) > 1:
        say(f"{source}: the preprocessing is that of the weights {card.weights[0].name!r}")
    return card.preprocessing


def _another(card: Card, config: Mapping[str, Any]) -> str:
    """Why timm's network, of which a `config.json` beside the weights speaks, computes something else; or nothing."""
    named = (c for c in cards() if c.family == card.family and c.name == config.get("architecture"))
    theirs = next(named, None)
    if theirs is None or card.family not in TIMM_FAMILIES or theirs.config == card.config:
        return ""
    return f"it is timm's {theirs.name}: load it by that name"


def _with_new_head(
    tensors: dict[str, np.ndarray], spec: ModelSpec, weights: Pretrained, new: str, seed: int
) -> dict[str, np.ndarray]:
    """The tensors with a head of the shape that the model has now, which is replaced later."""
    head = f"{spec.card.head}."
    own = {name: array for name, array in tensors.items() if name.startswith(head)}
    if weights.raw and own:
        outputs = tensors.get(f"{head}weight")
        of = f" for {len(outputs)} classes" if outputs is not None and outputs.ndim else ""
        say(f"{weights.source}: its head{of} is replaced by a new one for {new}")
    heads = {name: array for name, array in spec.initial_heads(seed).items() if name.startswith(head)}
    kept = {name: array for name, array in tensors.items() if name not in own} if weights.raw else tensors
    return kept | {name: array for name, array in heads.items() if name not in kept}


def _with_auxiliary(
    arrays: dict[str, np.ndarray], spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, np.ndarray]:
    """Files may lack auxiliary classifiers, or have those that this input size is too small for."""
    names = [branch.name for branch in find_card(spec.card.name).auxiliary]
    of_branches = {name for name in (*arrays, *shapes) if any(name.startswith(f"{n}.") for n in names)}
    extra = of_branches - shapes.keys()
    lacking = {name: shapes[name] for name in of_branches & shapes.keys() - arrays.keys()}
    kept = {name: array for name, array in arrays.items() if name not in extra}
    heads = spec.initial_heads(seed)
    return initial_weights(lacking, seed) | {n: a for n, a in heads.items() if n in lacking} | kept


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(name[:80] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
