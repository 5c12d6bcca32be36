"""Stage seven: which tensors get gradients, what is done to them, and are they those of the loss?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xfer.traces import remedies
from xfer.traces.context import Context
from xfer.traces.losses import LossRule, batches, head_gradient
from xfer.traces.view import Array, View

_KERAS_CLIPPING = {"global_clipnorm": "global", "clipnorm": "variable", "clipvalue": "value"}
_WORDS = {
    "global": "by the norm of all gradients together",
    "variable": "by the norm of each variable's gradient",
    "value": "element by element",
    "scale": "times a constant",
}


@dataclass(frozen=True)
class Clipping:
    """A rule and its limit; of kind "scale" the factor."""

    kind: str
    limit: float

    def __str__(self) -> str:
        return f"{_WORDS[self.kind]}, {'' if self.kind == 'scale' else 'at '}{self.limit:.6g}"

    def __call__(self, gradients: dict[str, Array]) -> dict[str, Array]:
        """Gradients after it."""
        if self.kind == "value":
            return {n: np.clip(g, -self.limit, self.limit) for n, g in gradients.items()}
        if self.kind == "scale":
            return {n: g * self.limit for n, g in gradients.items()}
        norms = {n: float(np.linalg.norm(g.astype(np.float64))) for n, g in gradients.items()}
        if self.kind == "global":
            whole = math.sqrt(sum(x * x for x in norms.values()))
            norms = dict.fromkeys(norms, whole)
        return {n: g * min(1.0, self.limit / max(norms[n], 1e-300)) for n, g in gradients.items()}


def gradients(context: Context) -> None:
    """Compare what is trained, clipping, the scale of the gradients, and the gradients where all before agrees."""
    _frozen(context)
    _accumulated(context)
    ours, theirs = clipping(context.a), clipping(context.b)
    scaled = _scales(context)
    if not _clippings(context, ours, theirs) and not scaled:
        _directly(context)


def raw(view: View, step: int) -> dict[str, Array]:
    """Gradients of the loss by tensor, in PyTorch's layouts."""
    found = {n: view.tensor(n, f"gradient/{n}", step) for n in view.notes.trainable}
    return {n: g for n, g in found.items() if g is not None}


def applied(view: View, step: int) -> dict[str, Array]:
    """Gradients as the update rule gets them, after clipping."""
    found = raw(view, step)
    found |= {n: g for n in found if (g := view.tensor(n, f"applied/{n}", step)) is not None}
    rule = clipping(view) if view.keras else None
    return rule(found) if rule is not None else found


def _frozen(context: Context) -> None:
    for has, lacks in (("a", "b"), ("b", "a")):
        places = []
        for name, (other, _) in context.pairs.tensors.items():
            ours, theirs = name in context.a.trainable, other in context.b.trainable
            if (ours, theirs) == (has == "a", has == "b") and _is_weight(context, name):
                places.append(context.pairs.named(name))
        if places:
            steps = len(context.steps)
            evidence = f"{len(places)} tensors are trained in {has}; in {lacks} no update changes them in {steps} steps"
            context.add("frozen", places, 1.0, evidence, remedies.frozen(context.b.keras, has == "a"))


def _is_weight(context: Context, name: str) -> bool:
    return name not in context.a.owners or context.a.owners[name][1] in ("weight", "bias")


def _accumulated(context: Context) -> None:
    """Gradients that contain those of the step before, in one run."""
    ours, theirs = _adds_up(context.a), _adds_up(context.b)
    if ours != theirs:
        who = "a" if ours else "b"
        evidence = f"what {who}'s optimizer gets is the gradient of the step and what the step before has left"
        remedy = "optimizer.zero_grad() before each backward" if who == "b" else "leave out optimizer.zero_grad()"
        context.add("accumulation", "gradients", 1.0, evidence, remedy)


def _adds_up(view: View) -> bool:
    if view.keras or len(view.steps) < 2:
        return False
    before, after = applied(view, 0), applied(view, 1)
    fresh = raw(view, 1)
    names = [n for n in fresh if n in before and not np.array_equal(fresh[n], after[n])]
    return bool(names) and all(
        np.allclose(after[n], fresh[n] + before[n], rtol=1e-4, atol=64 * view.u * np.abs(after[n]).max()) for n in names
    )


def clipping(view: View) -> Clipping | None:
    """What a run does to gradients before the update; None for nothing, or nothing that had an effect."""
    if view.keras:
        settings = view.notes.groups[0].settings if view.notes.groups else {}
        for key, kind in _KERAS_CLIPPING.items():
            if settings.get(key) is not None:
                return Clipping(kind, float(settings[key]))
        return None
    if _adds_up(view):
        return None
    found: list[Clipping] = []
    for step in range(len(view.steps)):
        before = raw(view, step)
        after = {n: a for n in before if (a := view.tensor(n, f"applied/{n}", step)) is not None}
        rule = recognise(before, before | after, view.u) if after else None
        found += [rule] if rule else []
    scales = {f.kind for f in found}
    if scales == {"global"} and len(found) > 1 and np.ptp([f.limit for f in found]) > 1e-3 * found[0].limit:
        return None
    return found[0] if found else None


def recognise(before: dict[str, Array], after: dict[str, Array], u: float) -> Clipping | None:
    """The rule that makes the second gradients of the first; None if they are the same, or no rule does."""
    names = [n for n in before if n in after and np.abs(before[n]).max(initial=0) > 0]
    slack = 1e3 * u
    norms = {n: (np.linalg.norm(before[n].astype(float)), np.linalg.norm(after[n].astype(float))) for n in names}
    total = [math.sqrt(sum(float(x[i]) ** 2 for x in norms.values())) for i in (0, 1)]
    if not names or max(abs(x - y) for x, y in norms.values()) <= slack * total[0]:
        return None
    largest = max(float(np.abs(after[n]).max()) for n in names)
    limits = [y for x, y in norms.values() if y < x * (1 - slack)]
    candidates = [Clipping("global", total[1]), Clipping("value", largest)]
    candidates += [Clipping("variable", float(np.median(limits)))] if limits else []
    candidates += [Clipping("scale", total[1] / total[0])]
    for rule in candidates:
        expected = rule({n: before[n] for n in names})
        if all(
            np.abs(expected[n] - after[n]).max() <= slack * (np.abs(after[n]).max() + slack * largest) for n in names
        ):
            return rule
    return None


def _clippings(context: Context, ours: Clipping | None, theirs: Clipping | None) -> bool:
    """The two rules, on the gradients of the first run. Whether they differ."""
    if ours is None and theirs is None:
        return False
    if ours and theirs and ours.kind == theirs.kind and abs(ours.limit - theirs.limit) <= 1e-3 * ours.limit:
        return False
    effect = 0.0
    for step in context.steps:
        before = raw(context.a, step)
        x, y = (before if rule is None else rule(before) for rule in (ours, theirs))
        largest = max((np.abs(g).max(initial=0) for g in x.values()), default=0.0)
        worst = max((np.abs(x[n] - y[n]).max(initial=0) for n in x), default=0.0)
        effect = max(effect, float(worst / largest) if largest else 0.0)
    if effect <= 1e3 * context.u:
        return False
    evidence = f"a clips {ours or 'nothing'}; b clips {theirs or 'nothing'}"
    context.add("clipping", "gradients", effect, evidence, _clip_line(context.b.keras, ours))
    return True


def _clip_line(keras: bool, rule: Clipping | None) -> str:
    if rule is None:
        return "leave out clipping"
    if keras:
        names = {kind: key for key, kind in _KERAS_CLIPPING.items()}
        return f"{names.get(rule.kind, 'loss_scale_factor')}={rule.limit:.6g} of the optimizer"
    lines = {
        "global": f"torch.nn.utils.clip_grad_norm_(model.parameters(), {rule.limit:.6g})",
        "variable": f"for p in model.parameters(): torch.nn.utils.clip_grad_norm_([p], {rule.limit:.6g})",
        "value": f"torch.nn.utils.clip_grad_value_(model.parameters(), {rule.limit:.6g})",
    }
    return lines.get(rule.kind, f"multiply gradients by {rule.limit:.6g}")


def _scales(context: Context) -> bool:
    """Are gradients those of the reported loss? By the bias of the last layer. Whether the runs differ in it."""
    ours, theirs = (_scale(view, rule) for view, rule in zip((context.a, context.b), context.rules, strict=True))
    if ours is None or theirs is None or abs(ours - theirs) <= 1e-2 * abs(ours):
        return False
    evidence = f"the gradient of the last bias is {ours:.4g} times that of the loss in a, {theirs:.4g} times in b"
    remedy = f"multiply the loss of b by {ours / theirs:.4g} before the gradients"
    context.add("gradient-scale", "gradients", abs(ours - theirs) / abs(ours), evidence, remedy)
    return True


def _scale(view: View, rule: LossRule | None) -> float | None:
    found = batches(view)
    heads = [n for n in view.nodes if n.kind == "dense" and "bias" in n.parameters]
    if rule is None or not found or not heads:
        return None
    expected = head_gradient(rule, found[0])
    actual = view.tensor(heads[-1].parameters["bias"], f"gradient/{heads[-1].parameters['bias']}", 0)
    if expected is None or actual is None or actual.shape != expected[0].shape:
        return None
    wanted, size = expected
    factor = float(actual @ wanted / max(wanted @ wanted, 1e-300))
    left = np.abs(actual - factor * wanted).max()
    return factor if left <= 1e-3 * abs(factor) * size.max() + 1e3 * view.u * size.max() else None


def _directly(context: Context) -> None:
    """Gradients themselves, where all before them is the same in both runs.

    A unit at a kink (ReLU, max pooling) may fall on either side by rounding, and then its gradient is another: where
    outputs agree to e, such units are the part e of all, and move the norm of a gradient by the root of e.
    """
    if context.random or context.has("pixels", "labels", "weights", "mode", "forward", "loss"):
        return
    ours = raw(context.a, 0)
    theirs = {n: g for n in ours if n in context.pairs.tensors
              and (g := context.pairs.other(context.b, n, "gradient/*", 0)) is not None}  # fmt: skip
    if not theirs:
        return
    norms = {n: float(np.linalg.norm(ours[n].astype(np.float64))) for n in theirs}
    agreed = max(context.difference[0], 8 * context.u)
    places, worst = [], 0.0
    for name, other in theirs.items():
        difference, floor = float(np.linalg.norm(ours[name].astype(np.float64) - other)), 1e-3 * max(norms.values())
        if difference > 4 * math.sqrt(agreed) * norms[name] + context.u / 2**-24 * 1e-2 * floor:
            places.append(context.pairs.named(name))
            worst = max(worst, difference / max(norms[name], floor))
        else:
            context.compared(difference / max(norms[name], floor), f"gradients: {name}")
    if not places:
        return
    rule = recognise({n: ours[n] for n in theirs}, theirs, math.sqrt(context.u))
    if rule is not None and rule.kind != "scale":
        context.add("clipping", places, worst, f"b's gradients are a's clipped {rule}", "clip in both runs, or in none")
    elif rule is not None:
        context.add(
            "gradient-scale", places, worst, f"b's gradients are a's {rule}", f"divide b's loss by {rule.limit:.4g}"
        )
    else:
        context.add("gradients", places, worst, "weights, outputs and loss agree, gradients do not",
                    "look for detach, stop_gradient or no_grad between the layer and the loss")  # fmt: skip
