"""Stage six: is the loss the same function of outputs and labels?"""

from __future__ import annotations

from dataclasses import replace

from xfer.traces.context import Context
from xfer.traces.losses import CONFUSED, CROSS_ENTROPY, TWICE, Batch, LossRule, batches, explain, value


def loss(context: Context) -> None:
    """Find the loss of each run by its numbers, and compare the two on the outputs of the first."""
    ours, theirs = batches(context.a), batches(context.b)
    if not ours or not theirs:
        context.notes.append("loss: outputs, labels or loss were not recorded in both runs; give them to recorder.step")
        return
    a, b = explain(context.a), explain(context.b)
    context.rules = (a, b)
    if a is not None and b is not None:
        _compare(context, a, b, ours)
        return
    known, batch, who = (a, theirs, "b") if b is None else (b, ours, "a")
    if known is None:
        _unknown(context, ours, theirs)
        return
    expected = value(known, batch[0])
    difference = abs(expected - batch[0].loss) / max(abs(expected), 1e-300)
    other = "a" if who == "b" else "b"
    would = f"that would be {expected:.6g} in {who}, which reports {batch[0].loss:.6g}"
    evidence = f"the loss of {other} is the {known} (to {known.error:.0e}); {would}"
    context.add("loss", "loss", difference, evidence, f"use in {who} the loss of {other}")


def _unknown(context: Context, ours: list[Batch], theirs: list[Batch]) -> None:
    """Two losses that no rule explains: compared where all before them is the same."""
    if context.has("pixels", "labels", "weights", "mode", "forward"):
        context.notes.append("loss: of neither run it is one that is known, so the two were not compared")
        return
    difference = abs(ours[0].loss - theirs[0].loss) / max(abs(ours[0].loss), 1e-300)
    if difference > 1e3 * context.u:
        context.add("loss", "loss", difference, f"{ours[0].loss:.6g} in a, {theirs[0].loss:.6g} in b", "use one loss")


def _compare(context: Context, a: LossRule, b: LossRule, ours: list[Batch]) -> None:
    keras = context.b.keras
    parts = {
        "family": ("from-logits" if {a.family.strip(), b.family.strip()} <= set(CONFUSED) else "loss"),
        "reduction": "reduction",
        "smoothing": "label-smoothing",
        "weighted": "class-weights",
        "auxiliary": "auxiliary",
        "penalty": "penalty",
    }
    for field, cause in parts.items():
        x, y = getattr(a, field), getattr(b, field)
        if (
            x == y
            or (isinstance(x, float) and abs(x - y) <= 1e-3 * max(x, y))
            or (field == "family" and x.strip() == y.strip())
        ):
            continue
        if field == "reduction" and "sum" not in (x, y):  # a mean over samples, or over their weights
            cause = "class-weights"
        base, other = value(a, ours[0]), value(_with(a, field, y), ours[0])
        effect = abs(base - other) / max(abs(base), 1e-300)
        evidence = (
            f"a's losses are the {a} (recomputed from its outputs to {max(a.error, 1e-17):.0e}), "
            f"b's the {b} (to {max(b.error, 1e-17):.0e})"
        )
        if any(f.cause == cause for f in context.findings):
            continue
        context.add(cause, "loss", effect, evidence, _remedy(keras, cause, a, b))


def _with(rule: LossRule, field: str, other: object) -> LossRule:
    return replace(rule, **{field: other})  # type: ignore[arg-type]


def _remedy(keras: bool, cause: str, a: LossRule, b: LossRule) -> str:
    if cause == "from-logits":
        if a.family == CROSS_ENTROPY and b.family == TWICE:
            line = "from_logits=False, for the network ends with a softmax"
            return line if keras else "leave out the softmax: nn.CrossEntropyLoss takes logits"
        if a.family == CROSS_ENTROPY:
            return "from_logits=True" if keras else "F.cross_entropy(logits, labels), which has the softmax"
        return "give the loss of b what that of a gets"
    if cause == "reduction":
        if keras:
            return 'reduction="sum"' if a.reduction == "sum" else 'reduction="sum_over_batch_size"'
        return f'reduction="{a.reduction}"'
    if cause == "label-smoothing":
        return f"label_smoothing={a.smoothing:.4g}"
    if cause == "class-weights":
        return (
            "PyTorch divides by the sum of the weights, Keras by their number"
            if a.weighted and b.weighted
            else "give both runs the same class weights"
        )
    if cause == "penalty":
        return (
            f"kernel_regularizer=keras.regularizers.L2({a.penalty:.3g})"
            if keras
            else f"loss + {a.penalty:.3g} * sum(w.square().sum())"
        )
    return f"weigh the auxiliary output by {a.auxiliary:.3g}" if cause == "auxiliary" else f"use the {a}"
