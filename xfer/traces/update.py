"""Stage eight: is the update the same function of gradients?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xfer.traces.context import Context
from xfer.traces.gradients import applied
from xfer.traces.rules import Rule, explain, rule_of, slots_of
from xfer.traces.view import Array

_MOST = 2_000_000  # numbers on which the effect of a rule is computed
_CAUSES = {
    ("name",): "optimizer",
    ("momentum", "dampening", "betas", "amsgrad"): "momentum",
    ("nesterov",): "nesterov",
    ("eps", "form"): "optimizer-eps",
    ("decay", "coupled"): "weight-decay",
}


def update(context: Context) -> None:
    """Compare the rates and the rules of all tensors that both runs train, on the gradients of the first."""
    a, b = context.a, context.b
    if not a.notes.optimizer or not b.notes.optimizer:
        context.notes.append("update: the optimizer was not given to xfer.record in both runs")
        return
    names = [n for n in context.pairs.tensors if n in a.trainable and context.pairs.tensors[n][0] in b.trainable]
    others = {context.pairs.tensors[n][0]: n for n in names}
    if not names:
        return
    _rates(context, names)
    ours, lost_a = explain(a, names)
    found_b, lost_b = explain(b, list(others))
    theirs = {others[n]: rule for n, rule in found_b.items()}
    _lost(context, lost_a, [others[n] for n in lost_b])
    gradients = [applied(a, i) for i in range(len(a.steps))]
    for fields, cause in _CAUSES.items():
        _compare(context, cause, fields, ours, theirs, gradients)
    if {r.name for r in ours.values()} == {"sgd"} and any(r.momentum for r in ours.values()):
        _compare(context, "momentum-convention", ("form",), ours, theirs, gradients)


def _rates(context: Context, names: list[str]) -> None:
    """Learning rates of the steps that both have."""
    constant, moving = list[str](), list[str]()
    shown = ([0.0], [0.0])
    for name in names:
        x, y = rule_of(context.a, name)[1], rule_of(context.b, context.pairs.tensors[name][0])[1]
        x, y = x[: len(context.steps)], y[: len(context.steps)]
        if np.isnan([*x, *y]).any() or np.allclose(x, y, rtol=1e-5, atol=0):
            continue
        ratio = np.array(y) / np.where(np.array(x) == 0, 1e-300, x)
        (constant if np.ptp(ratio) <= 1e-4 * abs(ratio[0]) else moving).append(name)
        shown = (x, y)
    said = [", ".join(f"{rate:.6g}" for rate in rates) for rates in shown]
    effect = float(max(abs(p - q) / max(abs(p), 1e-300) for p, q in zip(*shown, strict=True)))
    evidence = f"rates of the steps are {said[0]} in a and {said[1]} in b"
    keras = context.b.keras
    if constant:
        remedy = f"learning_rate={shown[0][0]:.6g}" if keras else f"lr={shown[0][0]:.6g}"
        context.add("learning-rate", [context.pairs.named(n) for n in constant], effect, evidence, remedy)
    if moving:
        line = (
            "give the optimizer a LearningRateSchedule, which counts updates"
            if keras
            else "scheduler.step() after each optimizer.step()"
        )
        if np.ptp(shown[0]) == 0:
            line = "change the rate once an epoch, or not at all, as a does"
        context.add("schedule", [context.pairs.named(n) for n in moving], effect, evidence, line)


def _lost(context: Context, ours: list[str], theirs: list[str]) -> None:
    """Tensors of which no rule explains the update."""
    a, b = context.a, context.b
    if not ours and not theirs:
        return
    known = [rule_of(a, ours[0])[0].known if ours else True]
    known += [rule_of(b, context.pairs.tensors[theirs[0]][0])[0].known if theirs else True]
    if not all(known):
        if a.notes.optimizer != b.notes.optimizer:
            evidence = f"{a.notes.optimizer} in a, {b.notes.optimizer} in b"
            context.add("optimizer", "all tensors", 1.0, evidence, f"use {a.notes.optimizer} in both runs")
        else:
            context.notes.append(
                f"update: the formulas of {a.notes.optimizer} are not known here, so they were not compared"
            )
        return
    if bool(ours) != bool(theirs):
        who, names = ("a", ours) if ours else ("b", theirs)
        view = a if ours else b
        evidence = (
            f"weights of {who} are not what {view.notes.optimizer} with its settings gives; those of the other run are"
        )
        remedy = f"look for what else changes the weights of {who} in a step: an average, a constraint, a second update"
        context.add("update", [context.pairs.named(n) for n in names], 1.0, evidence, remedy)
    else:
        context.notes.append("update: weights of neither run are what its optimizer's settings give; not compared")


def _compare(
    context: Context, cause: str, fields: tuple[str, ...], ours: dict[str, Rule], theirs: dict[str, Rule],
    gradients: list[dict[str, Array]],
) -> None:  # fmt: skip
    """One group of attributes: where they differ, their effect on the steps of the first run."""
    places, effect, left = list[str](), 0.0, _MOST
    shown: tuple[Rule, Rule] | None = None
    for name in ours.keys() & theirs.keys():
        x, y = ours[name], theirs[name]
        if cause == "optimizer-eps" and (x.name == "sgd" or x.name != y.name):
            continue
        if cause not in ("optimizer", "weight-decay") and x.name != y.name:
            continue
        if (cause == "weight-decay" and not x.decay and not y.decay) or (cause == "momentum" and x.name != y.name):
            continue
        values = [[getattr(r, f) for f in fields] for r in (x, y)]
        if all(
            p == q or (isinstance(p, float) and abs(p - q) <= 1e-6 * max(abs(p), abs(q)))
            for p, q in zip(*values, strict=True)
        ):
            continue
        if cause == "momentum" and np.allclose(
            [*x.betas, x.momentum, x.dampening], [*y.betas, y.momentum, y.dampening]
        ):
            continue
        if left > 0:
            change = y if cause == "optimizer" else replace(x, **{f: getattr(y, f) for f in fields})
            moved = _effect(context, x, change, name, gradients)
            left -= gradients[0][name].size if name in gradients[0] else 0
            if moved <= 64 * context.u:
                continue
            if moved > effect or shown is None:
                effect, shown = max(moved, effect), (x, y)
        places.append(context.pairs.named(name))
    if places and shown is not None:
        _add(context, cause, sorted(places), effect, *shown)


def _effect(context: Context, x: Rule, y: Rule, name: str, gradients: list[dict[str, Array]]) -> float:
    """How far two rules part over the recorded steps, relative to what the first moves."""
    w = context.a.tensor(name, f"before/{name}", 0)
    if w is None:
        return 1.0
    rates, start = rule_of(context.a, name)[1], context.a.steps[0].notes.count or 0
    ends = []
    for rule in (x, y):
        slots, at = _start(context, x, rule, name, rates[0]), w.astype(np.float64)
        for i, found in enumerate(gradients):
            if name in found:
                at, slots = rule.step(at, found[name].astype(np.float64), slots, rates[i], start + i)
        ends.append(at - w)
    largest = float(np.abs(ends[0]).max(initial=0))
    difference = float(np.abs(ends[0] - ends[1]).max(initial=0))
    return difference / largest if largest else float(difference > 0)


def _start(context: Context, x: Rule, rule: Rule, name: str, rate: float) -> list[Array]:
    """Slots at the beginning, for the form of a rule."""
    slots = slots_of(context.a, x, name, "before", 0) or []
    if rule.name != x.name:
        return [np.zeros_like(slots[0]) if slots else np.zeros(1)] * 2
    if rule.name == "sgd" and rule.form != x.form and slots:
        return [slots[0] * (-rate if rule.form == "keras" else -1 / rate)]
    return slots


def _add(context: Context, cause: str, places: list[str], effect: float, x: Rule, y: Rule) -> None:
    keras = context.b.keras
    if cause == "optimizer":
        evidence, remedy = f"{x.name} in a, {y.name} in b", f"use {x.name} in b"
    elif cause == "nesterov":
        evidence, remedy = f"nesterov is {x.nesterov} in a, {y.nesterov} in b", f"nesterov={x.nesterov}"
    elif cause == "momentum":
        own, other = ((r.momentum, r.dampening) if r.name == "sgd" else r.betas for r in (x, y))
        evidence = f"{own} in a, {other} in b"
        remedy = f"momentum={x.momentum:g}" if x.name == "sgd" else (
            f"beta_1={x.betas[0]:g}, beta_2={x.betas[1]:g}" if keras else f"betas={x.betas}"
        )  # fmt: skip
    elif cause == "optimizer-eps":
        evidence = f"epsilon is {x.said('eps')} in a; {y.said('eps')} in b"
        same = x.form == y.form
        remedy = f"{'epsilon' if keras else 'eps'}={x.eps:g}" + (
            "" if same else "; the place of it has no option: small where gradients are large"
        )
    elif cause == "weight-decay":
        evidence = f"decay is {x.said('decay')} in a; {y.said('decay')} in b"
        remedy = _decay_line(keras, x)
    else:
        evidence = f"the velocity is that of {x.form} in a and of {y.form} in b, and the rate changes"
        remedy = "no option has it: scale the velocity by new / old rate when the rate changes"
    context.add(cause, places, effect, evidence, remedy)


def _decay_line(keras: bool, x: Rule) -> str:
    if not x.decay:
        return "weight_decay=None" if keras else "weight_decay=0"
    if keras:
        coupled = f"kernel_regularizer=keras.regularizers.L2({x.decay / 2:g}) on all layers, and weight_decay=None"
        return coupled if x.coupled else f"weight_decay={x.decay:g}, of AdamW or SGD"
    if x.coupled:
        return f"weight_decay={x.decay:g} of torch.optim.{'SGD' if x.name == 'sgd' else 'Adam'}"
    return (
        f"torch.optim.AdamW(..., weight_decay={x.decay:g})"
        if x.name == "adam"
        else "scale weights by 1 - lr * decay before each step"
    )
