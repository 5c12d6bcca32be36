"""What the core knows about an architecture, without a framework."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from xfer.errors import UsageError, WeightsError
from xfer.runtime.text import count_of
from xfer.specs.preprocessing import Preprocessing
from xfer.weights.entry import WeightsEntry
from xfer.zoo.foreign import layouts, rename, tokens

_NORM_OF_ALL = ("norm", "encoder.ln")  # names of a last normalisation of every place or token, before pooling


@dataclass(frozen=True)
class Auxiliary:
    """A second classifier in mid-network: while training, its loss is added to that of the head; else it rests.

    It belongs to the block whose output it reads, and is trained with it; frozen, it has no loss.

    Args:
        name: canonical name of its layers.
        after: the block whose output it reads.
        head: canonical name of its last layer, which is replaced together with the head.
        feature_dim: what that layer reads.
        weight: of its loss.
        smallest: input size in pixels below which the network does without it.
    """

    name: str
    after: str
    head: str
    feature_dim: int
    weight: float
    smallest: int = 0


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
        convert: from the tensors of a file to the canonical ones, where names alone don't do; Keras's files.
        auxiliary: classifiers that help training.
        head_per_place: the head reads every place of a map, (N, P, D), and the logits are the average of its ReLU.
        head_bias: whether the published head has a bias; ours has, and begins with zeros where it is not.
        prefix_tokens: class and register tokens before those of the patches, where outputs of blocks are (N, L, D).
        windows: whether the windows of attention change with the input size; their tables of relative positions are
            resized then.
        size_smallest: the input size in pixels below which nothing is left of the map.
        size_multiple: the input size must be a multiple of it.
        token_block: of a network whose blocks give tokens (N, prefix + P, D): the last block of which the logits depend
            on the tokens of the patches.
        projection: outputs of a published head that are no classes, but places in a space of images and texts (CLIP).
        positions: learned position embeddings (1, prefix + rows * columns, D) by name, with the number of prefix tokens
            that have one; they are resized where the input size is not that of the weights.
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
    convert: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    auxiliary: tuple[Auxiliary, ...] = ()
    head_per_place: bool = False
    head_bias: bool = True
    prefix_tokens: int = 0
    windows: bool = False
    size_smallest: int = 1
    size_multiple: int = 1
    token_block: str = ""
    projection: int = 0
    positions: Mapping[str, int] = field(default_factory=dict)
    source: str = ""

    def __repr__(self) -> str:
        size, weights = self.preprocessing.size, count_of(len(self.weights), "weights entry", "weights entries")
        return f"Card({self.name}: {self.parameters:,} parameters, {size} px, {weights})"

    @property
    def torchvision_name(self) -> str:
        """What torchvision calls the network that it is, or that it differs from in details."""
        return self.name.removeprefix("keras_")

    @property
    def same_padding(self) -> bool:
        """Whether convolutions with a stride are padded as TensorFlow's "SAME" does, and not by half a kernel."""
        said = self.config.get("padding", self.config.get("pad"))
        return said == "same" or self.family == "mobilenet_v1"

    @property
    def block_names(self) -> tuple[str, ...]:
        """All blocks in forward order, the head last."""
        return (*self.blocks, "head")

    @property
    def layer_depths(self) -> dict[str, int]:
        """How many layers each block is below the head, input first, as timm counts them for layer-wise decay.

        A last normalisation is no layer: it belongs to the layer before it or, after pooling, to the head, as does a
        pool that has weights.
        """
        depths, depth = {"head": 0}, 0
        for block, prefixes in reversed(list(self.blocks.items())):
            beside = block in ("norm", "pool")
            depth += not beside
            depths[block] = max(depth, 1) if beside and prefixes[0] in _NORM_OF_ALL else depth
        return dict(reversed(list(depths.items())))

    def block_of(self, name: str) -> str:
        """The block that a layer or tensor belongs to, by its canonical name."""
        for block, prefixes in (*self.blocks.items(), ("head", (self.head,))):
            if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes):
                return block
        raise KeyError(f"{name!r} belongs to no block of {self.name}")

    def place_of(self, name: str) -> str | None:
        """The block or auxiliary classifier that a tensor may belong to, by its canonical name."""
        try:
            return self.block_of(name)
        except KeyError:
            return next((branch.name for branch in self.auxiliary if name.startswith(f"{branch.name}.")), None)

    def preprocessing_for(self, entry: str) -> Preprocessing:
        """The preprocessing that published weights were trained for."""
        return self.variants.get(entry, self.preprocessing)

    def at(self, size: int) -> Card:
        """The card for an input size in pixels, which `config` then holds as `size`.

        Raises:
            UsageError: too small, or not a multiple of what the architecture needs.
        """
        if size < self.size_smallest:
            raise UsageError(f"{self.name} takes images of at least {self.size_smallest} pixels, not {size}")
        if size % self.size_multiple:
            nearest = max(round(size / self.size_multiple), 1) * self.size_multiple
            raise UsageError(
                f"{self.name} takes images whose size is a multiple of {self.size_multiple}, not {size}: give {nearest}"
            )
        auxiliary = tuple(branch for branch in self.auxiliary if size >= branch.smallest)
        return replace(self, config={**self.config, "size": size}, auxiliary=auxiliary)

    def names(self, of_file: Collection[str]) -> Callable[[str], str]:
        """The function from names in a file, which has these, to canonical ones; see `foreign` for other libraries'."""
        foreign = rename(self.family, self.config, of_file)
        own = self.rename
        return foreign if own is None else lambda name: foreign(own(name))

    def canonical(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The tensors of a file under canonical names and in the shapes of torchvision's layers and of our head.

        Raises:
            WeightsError: two of them have one canonical name.
        """
        if self.convert and any("/" in name for name in arrays):
            named = self.convert(arrays)
        else:
            to = self.names(arrays)
            named = {to(name): array for name, array in arrays.items()}
            if len(named) < len(arrays):
                raise WeightsError(f"two tensors of the file would be the same one of {self.name}: its names are mixed")
        named = layouts(named, self.head)
        if self.family == "timm_vit":
            named = tokens(named, self.config)
        weight, bias = f"{self.head}.weight", f"{self.head}.bias"
        if weight in named and not self.head_bias:
            named.setdefault(bias, np.zeros(len(named[weight]), named[weight].dtype))
        return named


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Names of the 1,000 ImageNet classes in the order of the logits, as torchvision gives them (BSD-3-Clause)."""
    return tuple(files("xfer.zoo").joinpath("imagenet_classes.txt").read_text("utf-8").splitlines())
