"""What the core knows about an architecture, without a framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from xfer.numerics import Preprocessing
from xfer.weights.entry import WeightsEntry


@dataclass(frozen=True)
class Card:
    """One architecture: its blocks, its head, its preprocessing and where its weights are.

    Args:
        name: as torchvision (or timm) names it.
        family: names the file that builds it in each backend.
        blocks: the layers of each block by name prefix, in forward order, the head left out.
        head: canonical name of the classifier layer, the block "head".
        feature_dim: width D of the features that the head reads.
        preprocessing: of the best weights.
        weights: published weights, best first.
        config: what the family needs to build the net (depths, widths, strides).
        parameters: trainable numbers with the ImageNet head.
        norm_eps, norm_momentum: of batch normalisation, in torch's sense of momentum.
        variants: preprocessing of published weights that differ from `preprocessing`, by entry name.
        rename: from a tensor's name in the weight file to the canonical one, where they differ.
        source: where the architecture is described.
    """

    name: str
    family: str
    blocks: Mapping[str, tuple[str, ...]]
    head: str
    feature_dim: int
    preprocessing: Preprocessing
    weights: tuple[WeightsEntry, ...]
    config: Mapping[str, Any]
    parameters: int
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1
    variants: Mapping[str, Preprocessing] = field(default_factory=dict)
    rename: Callable[[str], str] | None = None
    source: str = ""

    @property
    def block_names(self) -> tuple[str, ...]:
        """All blocks in forward order, the head last."""
        return (*self.blocks, "head")

    def block_of(self, name: str) -> str:
        """The block that a layer or tensor belongs to, by its canonical name."""
        for block, prefixes in (*self.blocks.items(), ("head", (self.head,))):
            if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes):
                return block
        raise KeyError(f"{name!r} belongs to no block of {self.name}")

    def preprocessing_for(self, entry: str) -> Preprocessing:
        """The preprocessing that published weights were trained for."""
        return self.variants.get(entry, self.preprocessing)

    def with_weights(self, *weights: WeightsEntry) -> Card:
        """The same architecture with other published weights."""
        return replace(self, weights=weights)


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Names of the 1,000 ImageNet classes in the order of the logits, as torchvision gives them (BSD-3-Clause)."""
    return tuple(files("xfer.zoo").joinpath("imagenet_classes.txt").read_text("utf-8").splitlines())
