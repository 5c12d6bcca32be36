"""Stage four: are dropout and batch normalisation in the same mode?"""

from __future__ import annotations

import numpy as np

from xfer.traces import reference, remedies
from xfer.traces.context import Context
from xfer.traces.view import Node, View, relative


def mode(context: Context) -> None:
    """Compare the modes of all layers that behave otherwise in training."""
    _norms(context)
    _dropouts(context)


def _norms(context: Context) -> None:
    places, effects = [], [0.0]
    batch = False
    for x, y in context.pairs.nodes:
        if x.kind != "batch_norm" or x.config["batch"] == y.config["batch"]:
            continue
        places.append(context.pairs.where(x, y))
        batch = bool(x.config["batch"])
        effects.append(_effect(context.a, x))
    if places:
        names = {True: "the statistics of the batch", False: "the running statistics"}
        evidence = f"a normalises by {names[batch]}, b by {names[not batch]}: b's outputs are recomputed with them"
        context.add("norm-mode", places, max(effects), evidence, remedies.norm_mode(context.b.keras, batch))


def _effect(view: View, node: Node) -> float:
    """How far the outputs of a normalisation would be moved by the other statistics."""
    inputs, weights = view.inputs(node), view.weights(node)
    base = node.name.partition("#")[0]
    other = dict(weights)
    for role in ("mean", "variance"):
        name = node.parameters.get(role, "")
        array = view.steps[0].get(f"before/{name}" if node.config["batch"] else f"batch_{role}/{base}")
        if array is None:
            return 1.0
        other[role] = array
    if inputs is None:
        return 1.0
    own = reference.compute(node.kind, node.config, inputs, weights)[0]
    return relative(own, reference.compute(node.kind, node.config, inputs, other)[0])


def _dropouts(context: Context) -> None:
    """By the pairs, and by what only one run has: an inactive dropout is nothing."""
    places, evidence, remedy, effect = list[str](), "", "", 0.0
    pairs: list[tuple[Node | None, Node | None]] = [(x, y) for x, y in context.pairs.nodes if x.kind == "dropout"]
    pairs += [(node, None) for node in context.pairs.only_a if node.kind == "dropout"]
    pairs += [(None, node) for node in context.pairs.only_b if node.kind == "dropout"]
    active = False
    for x, y in pairs:
        ours, theirs = (float(n.config["rate"]) if n is not None and n.config["active"] else 0.0 for n in (x, y))
        if abs(ours - theirs) < 1e-6:
            active = active or ours > 0
            continue
        node, view = (x, context.a) if x is not None and ours else (y, context.b)
        assert node is not None
        places.append(context.pairs.where(x, y) if x is not None and y is not None else node.name)
        evidence = f"rate {ours:g} in a, {theirs:g} in b; {_zeros(view, node)}"
        remedy = remedies.dropout(context.b.keras, {"rate": ours, "active": ours > 0})
        effect = max(effect, abs(ours - theirs))
    if places:
        context.add("dropout", places, effect, evidence, remedy)
    if active:
        context.notes.append(
            "dropout: active in both runs at the same rate; which units are dropped is drawn otherwise in each"
        )


def _zeros(view: View, node: Node) -> str:
    """What the recorded arrays say of it."""
    inputs, output = view.inputs(node), view.output(node)
    if inputs is None or output is None:
        return "its outputs were not kept"
    there = inputs[0] != 0
    dropped = float(np.mean((output[: len(there)] == 0)[there])) if there.any() else 0.0
    return f"{100 * dropped:.0f}% of the inputs that are not zero are zero after it in one run"
