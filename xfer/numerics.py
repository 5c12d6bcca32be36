"""One set of semantics for every backend: what is computed, said without a framework.

The rules are PyTorch's where the frameworks differ. A backend implements them or refuses by name; it never
silently does something else. Everything here is plain data or a pure function of plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from xfer.errors import UnknownNameError, UsageError, check_name

OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["constant", "cosine", "step", "onecycle"]
Precision = Literal["fp32", "fp64", "bf16"]
Interpolation = Literal["bilinear", "bicubic"]
MissingPixels = Literal["keep", "mean", "neighbours", "inpaint"]
Decoding = Literal["full", "draft"]
TaskKind = Literal["single-label", "multi-label", "regression"]

LARGEST = 4096  # pixels of an input's side

_DEFAULT_DECAY = {"sgd": 0.0, "adam": 0.0, "adamw": 0.01}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes network input.

    The shorter side is resized to `resize` pixels (Pillow, antialiased), the central `size` x `size` square is
    cut out as uint8, and the model computes `(pixel / 255 - mean) / std` on its device.

    Pixels whose alpha is 0 are missing; `missing` says what they become before the resize. "keep": the colour that the
    file has there. "mean": the mean colour of the others. "neighbours": the nearest of the others. "inpaint": a smooth
    surface through the edge of the hole.

    `decode` says how JPEG files are decoded. "full": every pixel. "draft": at 1/8, 1/4 or 1/2 of their size, the least
    that leaves the shorter side twice `resize` or more, where that divides both sides without a remainder, as it does
    in what cameras write. Large files take a half to a quarter of the time, and pixels change a little, equally on
    every backend: in 200 photographs of ants and bees by 0.5 levels of 255 in the mean, by 1.4 in the worst one, at no
    pixel by more than 16; enlarged, with the noise of a camera, by 0.3, 0.5 and 6. A random crop is drawn from what is
    left.
    """

    size: int
    resize: int
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    missing: MissingPixels = "keep"
    decode: Decoding = "full"

    def __post_init__(self) -> None:
        if self.missing not in get_args(MissingPixels):
            raise UnknownNameError("missing pixels", self.missing, get_args(MissingPixels))
        check_name("decode", self.decode, get_args(Decoding))
        if not (1 <= self.size <= LARGEST and 1 <= self.resize <= 2 * LARGEST):
            raise UsageError(f"image size {self.size}, resized from {self.resize}: give at most {LARGEST:,} pixels")

    @property
    def kept(self) -> int | None:
        """Pixels that decoding leaves the shorter side at least; None for all there are."""
        return None if self.decode == "full" else 2 * self.resize

    def at(self, size: int) -> Preprocessing:
        """The same preprocessing for another input size in pixels, keeping the ratio of resize to crop."""
        if size < 8:
            raise UsageError(f"image size {size} is too small: give at least 8 pixels")
        return replace(self, size=size, resize=max(size, round(size * self.resize / self.size)))


@dataclass(frozen=True)
class OptimizerSpec:
    """An update rule, torch's in every detail.

    `sgd` and `adam` couple weight decay (it joins the gradient), `adamw` decouples it (Loshchilov & Hutter 2019).
    Epsilon stands outside the bias correction, as in torch. `weight_decay=None` means torch's default for the rule.
    """

    name: OptimizerName = "adamw"
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(OptimizerName):
            raise UnknownNameError("optimizer", self.name, get_args(OptimizerName))
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov needs momentum > 0: give momentum=0.9, or nesterov=False")
        if self.decay < 0:
            raise UsageError(f"weight_decay={self.weight_decay} is negative: give 0 or more")

    @property
    def decay(self) -> float:
        """The weight decay in force."""
        return _DEFAULT_DECAY[self.name] if self.weight_decay is None else self.weight_decay

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the state kept for each tensor, as torch names them."""
        if self.name == "sgd":
            return ("momentum_buffer",) if self.momentum else ()
        return ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class LossSpec:
    """Cross-entropy with torch's label smoothing and class weights; or focal, or with adjusted logits.

    With weights the mean is sum(w * loss) / sum(w), and smoothing weighs the uniform term per class
    (torch.nn.CrossEntropyLoss). Given logits `z` (N, K), labels `y` (N,), smoothing `s` and weights `w` (K,):
    `loss = [(1 - s) * sum_i w[y_i] * nll_i + s / K * sum_i sum_k w_k * -log p_ik] / sum_i w[y_i]`.

    Rows whose label is negative have none: they leave the loss, its gradient and its divisor as they are without them;
    a batch in which no row has one has loss 0.

    Labels may be soft, shares `t` (N, K) of the classes, as Mixup makes them, NaN in rows without: then, as in torch,
    `t` takes the place of the one-hot label, `w_k` weighs class k's term, and the mean is over the rows.

    With `tasks`, logits and targets are those of all tasks side by side, and the loss is the sum of each task's own
    times its weight; see `TaskLoss`.

    Args:
        label_smoothing: s, in [0, 1).
        class_weights: w, for example `xfer.class_weights(counts)`.
        focal: exponent g of the focal loss (Lin et al. 2017, arXiv:1708.02002), which multiplies each row's nll by
            (1 - p[y])^g and so turns to what is still wrong; 0 is cross-entropy.
        adjustment: added to the logits in the loss alone; `xfer.log_prior(counts)` makes it the logit-adjusted loss
            (Menon et al. 2021, arXiv:2007.07314), which is consistent for balanced accuracy.
        tasks: the losses of several tasks; nothing else is then given here.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    focal: float = 0.0
    adjustment: tuple[float, ...] | None = None
    tasks: tuple[TaskLoss, ...] = ()

    def __post_init__(self) -> None:
        if self.focal < 0:
            raise UsageError(f"focal={self.focal} is negative: give an exponent such as 2")
        if self.focal and self.label_smoothing:
            raise UsageError("focal loss takes no label_smoothing: leave one of them at 0")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UsageError(f"label_smoothing={self.label_smoothing} is not in [0, 1): give for example 0.1")
        if self.class_weights is not None and min(self.class_weights, default=-1.0) < 0:
            raise UsageError("class_weights must be one number >= 0 for each class")


@dataclass(frozen=True)
class TaskLoss:
    """The loss of one task among several.

    A target that is NaN is missing: it leaves the loss, its gradient and its divisor as they are without it.

    Args:
        kind: "single-label": `loss`, a `LossSpec`, of one column of class indices. "multi-label": the mean of
            binary cross-entropies of logits and columns of 0 or 1. "regression": the mean squared error of outputs
            and columns of numbers.
        outputs: how many logits are the task's, K; also its columns of targets, but one in a single-label task.
        weight: of the task in the sum.
        loss: of a single-label task.
    """

    kind: TaskKind
    outputs: int
    weight: float = 1.0
    loss: LossSpec = field(default_factory=LossSpec)

    @property
    def columns(self) -> int:
        """How many columns of targets the task has."""
        return 1 if self.kind == "single-label" else self.outputs


def spans(tasks: Iterable[TaskLoss]) -> Iterator[tuple[TaskLoss, slice, slice]]:
    """Each task with its part of the outputs and of the targets, in which all tasks stand side by side."""
    at = column = 0
    for task in tasks:
        yield task, slice(at, at + task.outputs), slice(column, column + task.columns)
        at, column = at + task.outputs, column + task.columns


@dataclass(frozen=True)
class Schedule:
    """The factor on every learning rate, as a pure function of the update's index.

    Linear warm-up over `warmup` updates, then the named shape over the rest: `cosine` to zero (Loshchilov & Hutter
    2017), `step` times `gamma` at each fraction in `milestones`, `onecycle` up over 30 % from 1/25 and down to
    1/250000 by cosines (Smith & Topin 2018, torch's defaults), which has its own warm-up.
    """

    name: ScheduleName = "constant"
    warmup: int = 0
    milestones: tuple[float, ...] = (1 / 3, 2 / 3)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in get_args(ScheduleName):
            raise UnknownNameError("schedule", self.name, get_args(ScheduleName))
        if self.warmup < 0:
            raise UsageError(f"warmup={self.warmup} is negative: give a number of updates, 0 or more")
        if self.name == "onecycle" and self.warmup:
            raise UsageError("schedule 'onecycle' warms up by itself: leave warmup at 0")

    def factor(self, step: int, total: int) -> float:
        """The factor for update `step` (0-based) of `total`."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.name == "constant":
            return 1.0
        if self.name == "onecycle":
            return _one_cycle(step, total)
        progress = (step - self.warmup) / max(1, total - self.warmup)
        if self.name == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return float(self.gamma ** sum(progress >= m for m in self.milestones))


def _one_cycle(step: int, total: int) -> float:
    def anneal(start: float, end: float, fraction: float) -> float:
        return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1.0)

    peak = 0.3 * total - 1.0
    last = max(total - 1.0, peak + 1.0)
    if step <= peak:
        return anneal(1 / 25, 1.0, step / peak if peak > 0 else 1.0)
    return anneal(1.0, 1 / 25 / 1e4, (step - peak) / (last - peak))


Rates = float | Mapping[str, float]


def block_rates(rates: Rates, blocks: Sequence[str]) -> dict[str, float]:
    """One base learning rate for every block.

    Args:
        rates: one number for all, or numbers by block name. A block that is not named gets the rate of the nearest
            named block above it (nearer the head), the topmost ones that of the nearest below.
        blocks: the model's blocks in order, input first.

    Raises:
        UsageError: a rate that is not a positive finite number. UnknownNameError: a block that is not in `blocks`.
    """
    named = dict(rates) if isinstance(rates, Mapping) else {blocks[-1]: float(rates)}
    for block, rate in named.items():
        if block not in blocks:
            raise UnknownNameError("block", block, blocks)
        if not (rate > 0 and math.isfinite(rate)):
            raise UsageError(f"learning rate {rate!r} for block {block!r}: give a positive number such as 1e-3")
    if not named:
        raise UsageError("no learning rate given: pass a number, or numbers by block name")
    result: dict[str, float] = {}
    current = next(named[b] for b in reversed(blocks) if b in named)
    for block in reversed(blocks):
        current = named.get(block, current)
        result[block] = float(current)
    return {block: result[block] for block in blocks}
