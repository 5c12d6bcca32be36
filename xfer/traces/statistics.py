"""The last stage: do running statistics of batch normalisation move alike?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xfer.traces import remedies
from xfer.traces.context import Context
from xfer.traces.view import Array, Node, View


@dataclass(frozen=True)
class Rule:
    """How one layer moves its statistics.

    Attributes:
        momentum: which part of the batch's is taken at each step: PyTorch's momentum, 1 - Keras's.
        unbiased: whether the variance is divided by n - 1 and not by n; None if the two cannot be told apart.
        explained: whether that gives the recorded numbers.
        count: values a channel.
    """

    momentum: float
    unbiased: bool | None
    explained: bool
    count: int


def statistics(context: Context) -> None:
    """Compare how each pair of layers moves its statistics."""
    parted: dict[str, tuple[list[str], Rule, Rule]] = {}
    for x, y in context.pairs.nodes:
        if x.kind != "batch_norm" or not (x.config["batch"] and y.config["batch"]):
            continue
        ours, theirs = rule(context.a, x), rule(context.b, y)
        if ours is None or theirs is None:
            continue
        where = context.pairs.where(x, y)
        if not ours.explained or not theirs.explained:
            parted.setdefault("statistics", ([], ours, theirs))[0].append(where)
            continue
        if abs(ours.momentum - theirs.momentum) > 1e-3 * max(ours.momentum, theirs.momentum):
            parted.setdefault("norm-momentum", ([], ours, theirs))[0].append(where)
        if None not in (ours.unbiased, theirs.unbiased) and ours.unbiased != theirs.unbiased:
            parted.setdefault("norm-variance", ([], ours, theirs))[0].append(where)
    keras = context.b.keras
    for cause, (places, ours, theirs) in parted.items():
        if cause == "norm-momentum":
            largest = max(ours.momentum, theirs.momentum)
            effect = abs(ours.momentum - theirs.momentum) / largest
            shares = f"{ours.momentum:.4g} of the way to the batch's in a, by {theirs.momentum:.4g} in b"
            evidence = f"a step moves them by {shares}"
            remedy = remedies.norm_momentum(keras, ours.momentum)
        elif cause == "norm-variance":
            effect = 1 / ours.count
            words = {True: "n - 1 (PyTorch's)", False: "n (Keras's)"}
            divisors = f"{words[bool(ours.unbiased)]} in a, by {words[bool(theirs.unbiased)]} in b"
            evidence = f"the variance of n = {ours.count:,} values is divided by {divisors}"
            factor = "n / (n - 1)" if ours.unbiased else "(n - 1) / n"
            remedy = f"no option has it; a subclass may multiply the batch's variance by {factor}, which is near 1"
        else:
            effect = 1.0
            who = "a" if not ours.explained else "b"
            evidence = f"those of {who} follow no mean and variance of the batch"
            remedy = "update them once a step, from the batch of that step"
        context.add(cause, places, effect, evidence, remedy)


@dataclass(frozen=True)
class _Moved:
    """Mean and variance of one step, end to end: before and after it, of the batch, and how far rounding goes.

    Attributes:
        factor: n / (n - 1) for the variance, 1 for the mean.
    """

    before: Array
    after: Array
    batch: Array
    factor: Array
    noise: Array


def rule(view: View, node: Node) -> Rule | None:
    """What explains the statistics of a layer in all recorded steps; None where they were not kept."""
    moved, count = _moved(view, node)
    if not moved:
        return None
    fits = {}
    for unbiased in (True, False):
        momentum = _momentum(moved, unbiased)
        fits[unbiased] = (max(_error(each, momentum, unbiased, view.u) for each in moved), momentum)
    best = min(fits, key=lambda unbiased: fits[unbiased][0])
    alike = max(error for error, _ in fits.values()) <= 1
    return Rule(fits[best][1], None if alike else best, fits[best][0] <= 1, count)


def _moved(view: View, node: Node) -> tuple[list[_Moved], int]:
    base, found, n = node.name.partition("#")[0], [], 0
    for step in view.steps:
        count = step.get(f"batch_count/{base}")
        keys = [(f"before/{node.parameters.get(r, r)}", f"after/{node.parameters.get(r, r)}", f"batch_{r}/{base}")
                for r in ("mean", "variance")]  # fmt: skip
        arrays = [[step.get(key) for key in each] for each in keys]
        if count is None or any(x is None for each in arrays for x in each):
            continue
        n = int(count[0])
        before, after, batch = (
            np.concatenate([np.asarray(x, np.float64) for x in part]) for part in zip(*arrays, strict=True)
        )
        mean, variance = np.split(batch, 2)
        noise = np.concatenate([np.sqrt(variance) + math.sqrt(n) * np.abs(mean), 32 * (variance + mean**2)])
        factor = np.repeat([1.0, n / max(n - 1, 1)], len(mean))
        found.append(_Moved(before, after, batch, factor, noise))
    return found, n


def _momentum(steps: list[_Moved], unbiased: bool) -> float:
    """The best common momentum, by least squares; what is nothing but rounding counts little."""
    weight = np.concatenate([1 / (np.abs(s.before) + s.noise) for s in steps])
    moved = weight * np.concatenate([s.after - s.before for s in steps])
    way = weight * np.concatenate([(s.factor if unbiased else 1.0) * s.batch - s.before for s in steps])
    return float(moved @ way / max(way @ way, 1e-300))


def _error(step: _Moved, momentum: float, unbiased: bool, u: float) -> float:
    """How far the recorded statistics are from the rule, in units of rounding."""
    expected = step.before + momentum * ((step.factor if unbiased else 1.0) * step.batch - step.before)
    allowed = 16 * u * (np.abs(step.before) + np.abs(step.after) + momentum * step.noise)
    return float((np.abs(step.after - expected) / (allowed + 1e-300)).max(initial=0))
