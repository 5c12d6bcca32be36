"""The last stage: do running statistics of batch normalisation move alike?"""

from __future__ import annotations

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


def rule(view: View, node: Node) -> Rule | None:
    """What explains the statistics of a layer in all recorded steps; None where they were not kept."""
    base = node.name.partition("#")[0]
    means, variances, factors = [], [], []
    for step in view.steps:
        before, after, batch = (
            [step.get(prefix.format(node.parameters.get(role, role), role)) for role in ("mean", "variance")]
            for prefix in ("before/{0}", "after/{0}", f"batch_{{1}}/{base}")
        )
        count = step.get(f"batch_count/{base}")
        if count is None or any(x is None for x in (*before, *after, *batch)):
            continue
        n = int(count[0])
        means.append([np.asarray(x[0], np.float64) for x in (before, after, batch)])
        variances.append([np.asarray(x[1], np.float64) for x in (before, after, batch)])
        factors.append(n / max(n - 1, 1))
    if not means:
        return None
    momentum = _momentum(means, [1.0] * len(means))
    errors = {
        unbiased: _error(variances, momentum, factors if unbiased else [1.0] * len(factors), view.u)
        for unbiased in (True, False)
    }
    explained = _error(means, momentum, [1.0] * len(means), view.u) <= 1 and min(errors.values()) <= 1
    alike = max(errors.values()) <= 1 or errors[True] == errors[False]
    return Rule(
        momentum, None if alike else errors[True] < errors[False], explained, round(1 / max(factors[0] - 1, 1e-12)) + 1
    )


def _momentum(steps: list[list[Array]], factors: list[float]) -> float:
    """The best common momentum, by least squares."""
    moved = np.concatenate([after - before for before, after, _ in steps])
    way = np.concatenate([f * batch - before for (before, _, batch), f in zip(steps, factors, strict=True)])
    return float(moved @ way / max(way @ way, 1e-300))


def _error(steps: list[list[Array]], momentum: float, factors: list[float], u: float) -> float:
    """How far the recorded statistics are from the rule, in units of rounding."""
    worst = 0.0
    for (before, after, batch), factor in zip(steps, factors, strict=True):
        expected = before + momentum * (factor * batch - before)
        size = np.abs(before) + np.abs(after) + momentum * np.abs(batch).max(initial=0) * 32
        worst = max(worst, float((np.abs(after - expected) / (16 * u * size + 1e-300)).max(initial=0)))
    return worst
