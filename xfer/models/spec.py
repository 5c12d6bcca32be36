"""What a backend needs to build a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xfer.errors import UsageError
from xfer.runtime.text import count_of
from xfer.specs.head import Head
from xfer.specs.lora import Lora
from xfer.specs.numerics import Numerics
from xfer.specs.precision import Precision
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.tasks import Task
from xfer.zoo import Card


@dataclass(frozen=True)
class Description:
    """What a backend finds in a native network.

    Args:
        name: of its class.
        blocks: its children that have weights, by name, as prefixes of canonical names; the head left out.
        head: canonical name of the linear layer that gives the logits.
        feature_dim: what that layer reads.
        classes: how many logits it gives.
        parameters: trainable numbers.
        precision: in which it computes.
        ends_with_head: whether its output is that of the head, or its softmax.
        preprocessing: that it was trained for, if it says so (timm's do).
        image_size: in pixels, if it takes one size alone.
    """

    name: str
    blocks: dict[str, tuple[str, ...]]
    head: str
    feature_dim: int
    classes: int
    parameters: int
    precision: Precision
    ends_with_head: bool = True
    preprocessing: Preprocessing | None = None
    image_size: int | None = None


def block_names(layers: Sequence[str]) -> list[str]:
    """Names of blocks after their layers: a network may call a layer as xfer calls a stage of its own."""
    found: list[str] = []
    for name in layers:
        while name in ("input", "features", "head") or name in found:
            name += "_"
        found.append(name)
    return found


@dataclass(frozen=True)
class ModelSpec:
    """Everything a backend needs to build a network; the weights come afterwards.

    Args:
        card: the architecture, which becomes that at the input size.
        head: the head's shape.
        classes: names of the classes, in the order of the logits.
        preprocessing: input size in pixels, and the normalisation that the model computes on its device.
        precision: of the forward and backward pass; "fp64" makes weights and results float64, "bf16" computes all
            but the head, the loss and the statistics of normalisation in bfloat16, with float32 weights.
        device: canonical name of a device that is there.
        dropout: whether the network's own dropout and stochastic depth are there in training.
        columns: how many numbers beside the image join the features before the head.
        compile: whether torch.compile or XLA may be used, where it is faster.
        deterministic: whether the same pass on the same device shall give the same bits each time.
        tasks: those of a network with several heads; `classes` are then the names of all their outputs.
        lora: adapters of its linear layers, if it has any.
        numerics: habits of a framework that are not xfer's own; `preprocessing` has those of pixels.
    """

    card: Card
    head: Head
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    precision: Precision = "fp32"
    device: str = "cpu"
    dropout: bool = True
    columns: int = 0
    tasks: tuple[Task, ...] = ()
    compile: bool = False
    deterministic: bool = False
    lora: Lora | None = None
    numerics: Numerics = field(default_factory=Numerics)

    def __repr__(self) -> str:
        size, precision = self.preprocessing.size, self.precision
        return f"ModelSpec({self.card.name}: {count_of(len(self.classes), 'class', 'classes')}, {size} px, {precision})"

    def __post_init__(self) -> None:
        object.__setattr__(self, "card", self.card.at(self.preprocessing.size))
        if self.compile:
            self.numerics.check_own("compiled")
        if self.columns and self.card.head_per_place:
            raise UsageError(
                f"the head of {self.card.name} reads a map, which columns cannot join: take another network"
            )

    @property
    def heads(self) -> dict[str, tuple[Head, int]]:
        """Each head's canonical prefix, with its shape and how many outputs it has, in the order of the outputs."""
        if not self.tasks:
            return {self.card.head: (self.head, len(self.classes))}
        return {f"{self.card.head}.{task.name}": (task.head, len(task.classes)) for task in self.tasks}

    @property
    def head_inputs(self) -> int:
        """Width of what a head reads."""
        return self.card.feature_dim + self.columns

    def initial_heads(self, seed: int) -> dict[str, np.ndarray]:
        """Seeded weights of new heads, and of the auxiliary classifiers' last layers, which are linear."""
        arrays: dict[str, np.ndarray] = {}
        for prefix, (head, outputs) in self.heads.items():
            arrays |= head.initial(prefix, self.head_inputs, outputs, seed, self.numerics.head_init)
        for branch in self.card.auxiliary:
            classes, init = len(self.classes), self.numerics.head_init
            arrays |= Head().initial(branch.head, branch.feature_dim, classes, seed, init)
        return arrays
