"""What the core knows about an architecture, without a framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from xfer.errors import UsageError
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
        head_bias: whether the published head has a bias; ours has, and begins with zeros where it is not.
        size_multiple: the input size must be a multiple of it.
        size_of_weights: weights work at the input size that they were trained for and at no other.
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
    head_bias: bool = True
    size_multiple: int = 1
    size_of_weights: bool = False
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

    def at(self, size: int) -> Card:
        """The card for an input size in pixels, which `config` then holds as `size`.

        Raises:
            UsageError: not a multiple of what the architecture needs.
        """
        if size % self.size_multiple:
            lower, upper = (size // self.size_multiple + i for i in (0, 1))
            near = " or ".join(str(n * self.size_multiple) for n in (lower, upper) if n)
            raise UsageError(
                f"{self.name} needs image sizes that are multiples of {self.size_multiple}, not {size}: give {near}"
            )
        return replace(self, config={**self.config, "size": size})

    def with_weights(self, *weights: WeightsEntry) -> Card:
        """The same architecture with other published weights."""
        return replace(self, weights=weights)


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Names of the 1,000 ImageNet classes in the order of the logits, as torchvision gives them (BSD-3-Clause)."""
    return tuple(files("xfer.zoo").joinpath("imagenet_classes.txt").read_text("utf-8").splitlines())
