"""How far the updates of PyTorch and Keras are apart: the last rows of differences.py, and what makes a row."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch  # before TensorFlow
import torch._dynamo  # loads triton, which cannot be loaded after TensorFlow
from torch import nn

Row = tuple[str, str, str]  # PyTorch's, Keras's, how far they are apart
ROWS: dict[str, Callable[[list[Path]], Row]] = {}
RNG = np.random.default_rng(0)


def difference(name: str) -> Callable[[Callable[[list[Path]], Row]], Callable[[list[Path]], Row]]:
    """One row of the table."""

    def keep(function: Callable[[list[Path]], Row]) -> Callable[[list[Path]], Row]:
        ROWS[name] = function
        return function

    return keep


def apart(a: Any, b: Any) -> str:
    """The largest difference, relative to the largest number of the first."""
    a, b = (np.asarray(x.detach() if isinstance(x, torch.Tensor) else x, np.float64) for x in (a, b))
    return f"{np.abs(a - b).max() / np.abs(a).max():.1g}"


def default(function: Any, name: str) -> Any:
    """Of an argument."""
    return inspect.signature(function).parameters[name].default


def steps(rule: Any, theirs: Any, count: int, rate: Callable[[int], float] | None = None, size: float = 1.0) -> str:
    """How far `count` updates lead, from the same gradients."""
    import keras

    start = RNG.normal(size=50)
    ours = torch.tensor(start, requires_grad=True)
    variable = keras.Variable(start, dtype="float64")
    optimizer, other = rule([ours]), theirs()
    for step in range(count):
        gradient = RNG.normal(size=50) * size
        if rate is not None:
            optimizer.param_groups[0]["lr"] = rate(step)
            other.learning_rate = rate(step)
        ours.grad = torch.tensor(gradient)
        optimizer.step()
        other.apply([keras.ops.convert_to_tensor(gradient, "float64")], [variable])
    way = np.abs(ours.detach().numpy() - start).max()
    return f"{np.abs(ours.detach().numpy() - np.asarray(variable)).max() / way:.1g} of the way"


def updates(rule: str, rate: float, more: str = "", *, size: float = 1.0, **options: float) -> str:
    """The same for one rule of both frameworks with the same options."""
    import keras

    ours, theirs = getattr(torch.optim, rule), getattr(keras.optimizers, rule)
    falling = (lambda step: rate if step < 5 else rate / 10) if more else None
    found = steps(lambda p: ours(p, rate, **options), lambda: theirs(rate, **options), 10, falling, size)
    return f"{found} in 10 steps{more}"


@difference("SGD with momentum when the rate changes")
def sgd(files: list[Path]) -> Row:
    found = updates("SGD", 0.1, ", the rate divided by 10 after 5", momentum=0.9)
    return "the rate times the velocity", "the rate is in the velocity", found


@difference("epsilon of Adam")
def adam(files: list[Path]) -> Row:
    import keras

    ours, theirs = default(torch.optim.Adam, "eps"), default(keras.optimizers.Adam, "epsilon")
    found = f"{updates('Adam', 1e-3)} for gradients near 1, {updates('Adam', 1e-3, size=1e-6)} near 1e-6"
    return f"{ours:g}, after the correction of the bias", f"{theirs:g}, before it", found


ROWS["weight decay of SGD and Adam"] = lambda _: (
    "added to the gradient", "decoupled, as in AdamW", f"{updates('Adam', 1e-3, weight_decay=0.1)} of Adam, decay 0.1",
)  # fmt: skip


def constants(rule: str, ours: str, theirs: str) -> tuple[float, float]:
    """The defaults of an option of both frameworks' rules."""
    import keras

    return float(default(getattr(torch.optim, rule), ours)), float(default(getattr(keras.optimizers, rule), theirs))


@difference("weight decay of AdamW")
def adamw(files: list[Path]) -> Row:
    ours, theirs = constants("AdamW", "weight_decay", "weight_decay")
    return f"{ours:g}", f"{theirs:g}", f"{ours / theirs:.2g} times"


@difference("RMSprop")
def rmsprop(files: list[Path]) -> Row:
    ours, theirs = constants("RMSprop", "alpha", "rho")
    return f"decay of the mean square {ours:g}", f"{theirs:g}", updates("RMSprop", 1e-3)


@difference("Adagrad's first sum")
def adagrad(files: list[Path]) -> Row:
    ours, theirs = constants("Adagrad", "initial_accumulator_value", "initial_accumulator_value")
    return f"{ours:g}", f"{theirs:g}", updates("Adagrad", 1e-2)


@difference("default learning rate")
def rates(files: list[Path]) -> Row:
    both = {name: constants(name, "lr", "learning_rate") for name in ("SGD", "Adam", "RMSprop", "Adagrad")}
    texts = [", ".join(f"{name} {pair[i]:g}" for name, pair in both.items()) for i in (0, 1)]
    return texts[0], texts[1], f"up to {max(max(a / b, b / a) for a, b in both.values()):.0f} times"


@difference("clipping by norm")
def clipping(files: list[Path]) -> Row:
    import keras

    gradients = [RNG.normal(size=9), RNG.normal(size=9) * 0.01]
    tensors = [torch.zeros(9, dtype=torch.float64, requires_grad=True) for _ in gradients]
    for tensor, gradient in zip(tensors, gradients, strict=True):
        tensor.grad = torch.tensor(gradient)
    nn.utils.clip_grad_norm_(tensors, 0.1)
    theirs = keras.optimizers.SGD(1.0, clipnorm=0.1)._clip_gradients(
        [keras.ops.convert_to_tensor(g) for g in gradients]
    )
    small = [float(np.linalg.norm(np.asarray(g))) for g in (tensors[1].grad, theirs[1])]
    return (
        "of all gradients together (clip_grad_norm_)",
        "of each variable (clipnorm)",
        f"a small gradient beside a large one is {small[1] / small[0]:.0f} times as long",
    )
