"""Which loss gives the recorded numbers: tried on the recorded outputs and labels, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xfer.traces.activations import log_softmax
from xfer.traces.view import Array, View

LAMBDA = 8.0
CROSS_ENTROPY = "cross entropy of the logits"
TWICE = "cross entropy of the softmax of the softmax"
AS_PROBABILITIES = "cross entropy of the logits as if they were probabilities"
LIKELIHOOD = "minus the logit of the class, without a softmax"
BINARY = "binary cross entropy of the logits"
SQUARES = "mean squared error"
CONFUSED = (CROSS_ENTROPY, TWICE, AS_PROBABILITIES, LIKELIHOOD)


@dataclass(frozen=True)
class LossRule:
    """A loss function.

    Attributes:
        family: what it is of each sample.
        reduction: "mean", "sum", or "weighted mean".
        smoothing: of the labels.
        penalty: factor of the sum of squares of the kernels.
        auxiliary: factor of the same loss of the second output.
        weighted: whether samples are weighted.
        error: the largest distance from the recorded losses, relative.
    """

    family: str
    reduction: str = "mean"
    smoothing: float = 0.0
    penalty: float = 0.0
    auxiliary: float = 0.0
    weighted: bool = False
    error: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.reduction} of the {self.family}" if self.reduction != "sum" else f"sum of the {self.family}"]
        parts += [f"labels smoothed by {self.smoothing:.4g}"] if self.smoothing else []
        parts += [f"{self.penalty:.3g} times the squares of the kernels"] if self.penalty else []
        parts += [f"{self.auxiliary:.3g} times that of the second output"] if self.auxiliary else []
        parts += ["samples weighted"] if self.weighted else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Batch:
    """What a loss is computed from.

    Attributes:
        logits: (N, K), the logarithms of probabilities where the network returns those.
        targets: (N, K), distributions over the classes.
        weights: (N,) of the samples, or None.
        squares: sum of squares of the kernels.
        second: logits of a second output, or None.
        loss: the recorded one.
    """

    logits: Array
    targets: Array
    weights: Array | None
    squares: float
    second: Array | None
    loss: float


def batches(view: View) -> list[Batch]:
    """Steps of which outputs, labels and loss were recorded."""
    found = []
    for number, step in enumerate(view.steps):
        outputs = [step.get(f"batch/output/{i}") for i in range(2)]
        labels, loss = step.get("batch/labels"), step.notes.loss
        if outputs[0] is None or labels is None or loss is None or step.notes.passes != 1 or outputs[0].ndim != 2:
            continue
        z = [None if x is None or x.shape != outputs[0].shape else _logits(view, x) for x in outputs]
        targets = _targets(labels, outputs[0].shape)
        if targets is None or z[0] is None:
            continue
        kernels = (view.tensor(n, f"before/{n}", number) for n in view.notes.trainable)
        squares = sum(float((k.astype(np.float64) ** 2).sum()) for k in kernels if k is not None and k.ndim > 1)
        weights = step.get("batch/weights")
        if weights is not None and weights.size == targets.shape[1] != len(targets):  # of the classes
            weights = targets @ weights.astype(np.float64).ravel()
        found.append(Batch(z[0], targets, None if weights is None else weights.ravel(), squares, z[1], loss))
    return found


def _logits(view: View, x: Array) -> Array:
    wide = x.astype(np.float64)
    return np.log(np.maximum(wide, 1e-300)) if view.probabilities else wide


def _targets(labels: Array, shape: tuple[int, ...]) -> Array | None:
    if labels.shape == shape and shape[1] > 1:
        return labels.astype(np.float64)
    numbers = labels.reshape(-1)
    if len(numbers) != shape[0] or not np.issubdtype(labels.dtype, np.number):
        return None
    if shape[1] == 1:
        return numbers.astype(np.float64).reshape(-1, 1)
    whole = numbers.astype(np.int64)
    return np.eye(shape[1])[whole] if whole.min() >= 0 and whole.max() < shape[1] else None


def value(rule: LossRule, batch: Batch) -> float:
    """The loss of a batch."""
    total = _smoothed(rule, batch, batch.logits)
    if rule.auxiliary and batch.second is not None:
        total += rule.auxiliary * _smoothed(rule, batch, batch.second)
    return total + rule.penalty * batch.squares


def _smoothed(rule: LossRule, batch: Batch, logits: Array) -> float:
    each, uniform = _of_samples(rule.family, logits, batch.targets)
    s = rule.smoothing
    return _reduced(rule, (1 - s) * each + s * uniform, batch.weights)


def _reduced(rule: LossRule, each: Array, weights: Array | None) -> float:
    w = weights if rule.weighted and weights is not None else np.ones(len(each))
    total = float((w * each).sum())
    return {"sum": total, "mean": total / len(each), "weighted mean": total / max(float(w.sum()), 1e-300)}[
        rule.reduction
    ]


def _of_samples(family: str, z: Array, targets: Array) -> tuple[Array, Array]:
    """The loss of each sample, and that of a uniform target."""
    if family == BINARY:
        each = np.logaddexp(0, z) - targets * z
        return each.mean(1), (np.logaddexp(0, z) - 0.5 * z).mean(1)
    if family == SQUARES:
        return ((z - targets) ** 2).mean(1), ((z - 1 / z.shape[1]) ** 2).mean(1)
    if family == TWICE:
        log = log_softmax(np.exp(log_softmax(z)))
    elif family == AS_PROBABILITIES:
        clipped = np.clip(z, 1e-7, 1 - 1e-7)
        log = np.log(clipped / clipped.sum(1, keepdims=True))
    elif family == AS_PROBABILITIES + " ":  # of one-hot labels, Keras divides by the sum first
        log = np.log(np.clip(z / z.sum(1, keepdims=True), 1e-7, 1 - 1e-7))
    elif family == LIKELIHOOD:
        log = z
    else:
        log = log_softmax(z)
    return -(targets * log).sum(1), -log.mean(1) * targets.sum(1)


def explain(view: View) -> LossRule | None:
    """The first loss, from usual to unusual, that gives the recorded numbers of all steps; None if none does."""
    found = batches(view)
    if not found:
        return None
    for rule in _candidates(found):
        for fitted in _fits(rule, found):
            errors = [abs(value(fitted, b) - b.loss) for b in found]
            if all(e <= _allowed(fitted, b, view.u) for e, b in zip(errors, found, strict=True)):
                worst = max(e / max(abs(b.loss), 1e-300) for e, b in zip(errors, found, strict=True))
                return _rounded(fitted, worst, found, view.u)
    return None


def _candidates(found: list[Batch]) -> Iterator[LossRule]:
    families = [CROSS_ENTROPY, TWICE, AS_PROBABILITIES, AS_PROBABILITIES + " ", LIKELIHOOD, BINARY, SQUARES]
    if found[0].logits.shape[1] == 1:
        families = [BINARY, SQUARES]
    weighted = [True, False] if any(b.weights is not None for b in found) else [False]
    for family in families:
        for each in weighted:
            for reduction in ("mean", "sum", "weighted mean") if each else ("mean", "sum"):
                yield LossRule(family, reduction, weighted=each)


def _fits(rule: LossRule, found: list[Batch]) -> Iterator[LossRule]:
    """The rule itself, and with each number that it may have, fitted to the losses of all steps."""
    yield rule
    left = np.array([b.loss - value(rule, b) for b in found])

    def factor(directions: list[float]) -> float:
        d = np.array(directions)
        return float(left @ d / max(d @ d, 1e-300))

    if rule.family in CONFUSED:
        s = factor([_smoothed(LossRule(rule.family, rule.reduction, 1.0, weighted=rule.weighted), b, b.logits)
                    - value(rule, b) for b in found])  # fmt: skip
        if 0.001 <= s < 1 and (len(found) > 1 or abs(s * 1000 - round(s * 1000)) < 1e-2):
            yield LossRule(rule.family, rule.reduction, s, weighted=rule.weighted)
    if all(b.second is not None for b in found) and len(found) > 1:
        weight = factor([_smoothed(rule, b, b.second) for b in found if b.second is not None])
        yield LossRule(rule.family, rule.reduction, auxiliary=weight, weighted=rule.weighted)
    penalty = factor([b.squares for b in found])
    if penalty > 0 and len(found) > 1:
        yield LossRule(rule.family, rule.reduction, penalty=penalty, weighted=rule.weighted)


def _rounded(rule: LossRule, error: float, found: list[Batch], u: float) -> LossRule:
    """The rule with a smoothing of few digits, if that explains the losses as well."""
    for digits in (2, 3):
        short = LossRule(rule.family, rule.reduction, round(rule.smoothing, digits), rule.penalty, rule.auxiliary,
                         rule.weighted, error)  # fmt: skip
        if all(abs(value(short, b) - b.loss) <= _allowed(short, b, u) for b in found):
            return short
    return LossRule(rule.family, rule.reduction, rule.smoothing, rule.penalty, rule.auxiliary, rule.weighted, error)


def _allowed(rule: LossRule, batch: Batch, u: float) -> float:
    """What rounding may do to the recorded loss."""
    n, k = batch.logits.shape
    size = abs(batch.loss) + float(np.abs(np.where(np.abs(batch.logits) < 1e4, batch.logits, 0)).max())
    if rule.family.startswith(AS_PROBABILITIES):
        size *= 4
    return LAMBDA * math.sqrt(n + k) * u * size * (n if rule.reduction == "sum" else 1)


def head_gradient(rule: LossRule, batch: Batch) -> tuple[Array, Array] | None:
    """Gradient of the loss by the bias of the last layer, and its scale; None for other losses than cross entropy."""
    if rule.family != CROSS_ENTROPY or rule.auxiliary:
        return None
    n, k = batch.logits.shape
    smooth = (1 - rule.smoothing) * batch.targets + rule.smoothing * batch.targets.sum(1, keepdims=True) / k
    w = batch.weights if rule.weighted and batch.weights is not None else np.ones(n)
    each = w[:, None] * (np.exp(log_softmax(batch.logits)) * smooth.sum(1, keepdims=True) - smooth)
    divisor = {"sum": 1.0, "mean": float(n), "weighted mean": float(w.sum())}[rule.reduction]
    return each.sum(0) / divisor, np.abs(each).sum(0) / divisor
