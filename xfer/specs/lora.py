"""LoRA: low-rank updates beside the weights of linear layers (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xfer.errors import UsageError
from xfer.specs.initialization import uniform

ADAPTERS = ("lora_A", "lora_B")  # names of the two matrices in their layer, as peft has them


@dataclass(frozen=True)
class Lora:
    """Adapters of some linear layers, which compute W x + (alpha / rank) B A x + b.

    Args:
        rank: r; A is (r, in) and B (out, r).
        alpha: numerator of the factor.
        weights: canonical names of the matrices W (out, in), in forward order. That of queries, keys and values is one
            matrix in every network, and has one adapter.
    """

    rank: int
    alpha: float
    weights: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UsageError(f"LoRA's rank={self.rank}: give at least 1")
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise UsageError(f"LoRA's alpha={self.alpha}: give a positive number such as 16")

    def __repr__(self) -> str:
        return f"Lora(rank {self.rank}, alpha {self.alpha:g}: {len(self.weights)} weights)"

    @property
    def scale(self) -> float:
        """The factor of B A."""
        return self.alpha / self.rank

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of all A and B."""
        return tuple(name for weight in self.weights for name in adapters_of(weight))

    def shapes(self, of: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes of all A and B, from those of the weights."""
        found: dict[str, tuple[int, ...]] = {}
        for weight in self.weights:
            (out, width), (a, b) = of[weight], adapters_of(weight)
            found |= {a: (self.rank, width), b: (out, self.rank)}
        return found

    def initial(self, of: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
        """A uniform in +-1 / sqrt(in), as peft draws it, and B zero: the network computes what it did before."""
        return {
            name: uniform(name, shape, fan_in=shape[1], seed=seed) if is_a(name) else np.zeros(shape, np.float32)
            for name, shape in self.shapes(of).items()
        }

    def merged(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The tensors of the same network without adapters: W + (alpha / rank) B A, summed in float64."""
        found = {name: array for name, array in arrays.items() if not is_adapter(name)}
        for weight in self.weights:
            a, b = (arrays[name].astype(np.float64) for name in adapters_of(weight))
            found[weight] = np.asarray(found[weight] + self.scale * (b @ a), found[weight].dtype)
        return found


def adapters_of(weight: str) -> tuple[str, str]:
    """Names of A and B beside a weight: those of `blocks.0.mlp.fc1.weight` are `blocks.0.mlp.fc1.lora_A` and `_B`."""
    layer = weight.rpartition(".")[0]
    return f"{layer}.{ADAPTERS[0]}", f"{layer}.{ADAPTERS[1]}"


def is_adapter(name: str) -> bool:
    """Whether a tensor is an A or a B."""
    return name.rpartition(".")[2] in ADAPTERS


def is_a(name: str) -> bool:
    """Whether a tensor is an A."""
    return name.rpartition(".")[2] == ADAPTERS[0]


def is_bias(name: str) -> bool:
    """Whether a tensor is a bias, of a normalisation too: what BitFit trains."""
    return name.rpartition(".")[2] in ("bias", "in_proj_bias")
