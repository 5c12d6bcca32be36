"""Stage five: does each layer compute the same of the same inputs with the same weights?

Each pair is computed on the inputs and weights of the first run, with the configuration of either, so that what differs
before a layer hides nothing of it. That the configurations are what the runs computed is checked first, on the inputs
and outputs of each run: where one is not, others are tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from xfer.traces import reference, remedies
from xfer.traces.activations import ACTIVATIONS
from xfer.traces.context import Context
from xfer.traces.view import Array, Node, View, excess, relative

# What a kind's result depends on, with the cause that it is where it differs.
_ATTRIBUTES = {
    "conv": {"stride": "stride", "dilation": "stride", "groups": "stride", "kernel": "stride", "padding": "padding",
             "padding_mode": "padding"},
    "batch_norm": {"eps": "norm-eps"},
    "layer_norm": {"eps": "norm-eps", "axes": "norm-groups"},
    "group_norm": {"eps": "norm-eps", "groups": "norm-groups"},
    "activation": {"name": "activation", "slope": "activation"},
    "pool": {"pooling": "pooling", "kernel": "pooling", "stride": "pooling", "ceil": "pooling", "counted": "pooling",
             "padding": "padding", "pad_value": "padding"},
    "global_pool": {"pooling": "pooling"},
}  # fmt: skip
_EPS = (1e-3, 1.001e-5, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
_MINOR = ("dropout", "flatten", "other", "concatenate", "permute")  # without a partner they are a note at most


class _Found:
    """Differences of one cause, collected over the layers."""

    def __init__(self) -> None:
        self.places: list[str] = []
        self.effect = 0.0
        self.evidence = self.remedy = ""

    def add(self, where: str, effect: float, evidence: str, remedy: str) -> None:
        self.places.append(where)
        if effect > self.effect or not self.evidence:
            self.effect, self.evidence, self.remedy = effect, evidence, remedy


def forward(context: Context) -> None:
    """Compare all pairs of layers."""
    found: dict[str, _Found] = {}
    unknown = []
    for x, y in context.pairs.nodes:
        ours, theirs = effective(context.a, x), effective(context.b, y)
        where = context.pairs.where(x, y)
        if ours is None or theirs is None:
            if x.kind not in ("dropout",) and not _directly(context, x, y, where):
                unknown.append(where)
            continue
        _track(context, x, y)
        for cause, effect, evidence, remedy in _differences(context, ours, theirs):
            found.setdefault(cause, _Found()).add(where, effect, evidence, remedy)
    for cause, each in found.items():
        context.add(cause, each.places, each.effect, each.evidence, each.remedy)
    _missing(context)
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        context.notes.append(f"not compared by themselves: {', '.join(unknown[:5])}{more}")


def effective(view: View, node: Node) -> Node | None:
    """A layer with the configuration that explains its recorded output; None if none does."""
    error = view.explained(node)
    if error is not None and error <= 1:
        return node
    inputs, output = view.inputs(node), view.output(node)
    if inputs is None or output is None:
        return node if node.kind in _ATTRIBUTES and node.config.get("name") != "unknown" else None
    weights = view.weights(node)
    for config in _hypotheses(node, inputs[0].shape[2:]):
        try:
            value, scale = reference.compute(node.kind, config, inputs, weights)
        except reference.UnknownLayerError:
            continue
        if value.shape == output.shape and excess(output, value, scale, view.u) <= 1:
            return replace(node, config=config)
    return None


def _hypotheses(node: Node, size: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Configurations that a layer may have though it says something else."""
    config = dict(node.config)
    if node.kind == "activation":
        yield from (config | {"name": name} for name in ACTIVATIONS)
        yield from (config | {"name": "leaky_relu", "slope": slope} for slope in (0.01, 0.1, 0.2, 0.3))
    elif node.kind in ("batch_norm", "layer_norm", "group_norm"):
        yield from (config | {"eps": eps} for eps in _EPS)
    elif node.kind in ("conv", "pool") and len(config["kernel"]) == len(size):
        reach = [d * (k - 1) + 1 for k, d in zip(config["kernel"], config.get("dilation", [1, 1]), strict=True)]
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, reach, config["stride"], strict=True)]
        for sides in (
            [[t // 2, t - t // 2] for t in total],
            [[(k - 1) // 2] * 2 for k in reach],
            [[0, 0] for _ in reach],
        ):
            yield config | {"padding": sides}


def _differences(context: Context, ours: Node, theirs: Node) -> Iterator[tuple[str, float, str, str]]:
    """(cause, effect, evidence, remedy) of each attribute in which two layers differ, one at a time."""
    inputs, output = context.a.inputs(ours), context.a.output(ours)
    weights = context.a.weights(ours)
    compute = partial(_value, inputs=inputs, weights=weights)
    if ours.kind != theirs.kind:
        yield (
            "pooling",
            _effect(compute(ours.kind, ours.config), compute(theirs.kind, theirs.config)),
            (f"{_said(ours)} in a, {_said(theirs)} in b"),
            f"pool as a does: {_said(ours)}",
        )
        return
    causes: dict[str, list[str]] = {}
    for key, cause in _ATTRIBUTES.get(ours.kind, {}).items():
        if ours.config.get(key) != theirs.config.get(key):
            causes.setdefault(cause, []).append(key)
    for cause, keys in causes.items():
        changed = dict(ours.config) | {key: theirs.config.get(key) for key in keys}
        base, other = compute(ours.kind, ours.config), compute(ours.kind, changed)
        effect = 1.0 if base is None or other is None else _effect(base, other)
        if effect <= 8 * context.u:
            continue
        left = None if base is None or output is None else relative(base[: len(output)], output[: len(base)])
        agree = (
            "" if left is None else f": with a's the outputs agree to {max(left, 1e-17):.0e}, with b's to {effect:.0e}"
        )
        shown = ", ".join(
            f"{key} is {_show(theirs.config.get(key))} in b and {_show(ours.config.get(key))} in a" for key in keys
        )
        yield cause, effect, f"{shown}{agree}", _remedy(context.b.keras, cause, ours)
    for node, has, lacks in ((ours, "a", "b"), (theirs, "b", "a")):
        other_node = theirs if node is ours else ours
        if node.kind in ("conv", "dense") and "bias" in node.parameters and "bias" not in other_node.parameters:
            yield (
                "bias",
                1.0,
                f"the layer has a bias in {has} and none in {lacks}",
                (f"{'use_bias' if context.b.keras else 'bias'}={has == 'a'}"),
            )


def _value(kind: str, config: Mapping[str, Any], inputs: Any, weights: Any) -> Array | None:
    try:
        return None if inputs is None else reference.compute(kind, config, inputs, weights)[0]
    except reference.UnknownLayerError:
        return None


def _effect(base: Array | None, other: Array | None) -> float:
    if base is None or other is None:
        return 1.0
    if base.shape != other.shape and base.size == other.size:
        other = other.reshape(base.shape)
    return min(relative(base, other), 1e9) if base.shape == other.shape else 1.0


def _said(node: Node) -> str:
    kernel = node.config.get("kernel")
    return f"{node.config['pooling']} pooling" + (f" of {kernel}" if kernel else " of all")


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _remedy(keras: bool, cause: str, ours: Node) -> str:
    if cause == "norm-eps":
        return remedies.eps(keras, ours.config["eps"])
    if cause == "padding":
        return remedies.padding(keras, dict(ours.config))
    if cause == "activation":
        return remedies.activation(keras, dict(ours.config))
    keys = {key for key, value in _ATTRIBUTES[ours.kind].items() if value == cause}
    names = {"kernel": "kernel_size" if ours.kind == "conv" or not keras else "pool_size"}
    if keras:
        names |= {"stride": "strides", "dilation": "dilation_rate"}
    return ", ".join(f"{names.get(key, key)}={ours.config[key]}" for key in sorted(keys & ours.config.keys()))


def _track(context: Context, x: Node, y: Node) -> None:
    """The recorded outputs of both, while all before them is the same."""
    if context.random or context.has("pixels", "weights", "mode"):
        return
    ours, theirs = context.a.output(x), context.reordered(context.b.output(y), 0)
    if ours is not None and theirs is not None and ours.shape == theirs.shape and x.kind != "flatten":
        difference = relative(ours, theirs)
        if difference < 1e-2:  # a larger one has a cause, which is named by itself
            context.compared(difference, f"outputs of {x.name}")


def _directly(context: Context, x: Node, y: Node, where: str) -> bool:
    """A layer that the reference does not know: compare outputs if inputs and weights agree. Whether that was done."""
    ours, theirs = context.a.inputs(x), context.b.inputs(y)
    a, b = context.a.output(x), context.b.output(y)
    if ours is None or theirs is None or a is None or b is None or len(ours) != len(theirs) or a.shape != b.shape:
        return False
    before = max((relative(p, q) for p, q in zip(ours, theirs, strict=True)), default=0.0)
    weights_a, weights_b = context.a.weights(x), context.b.weights(y)
    same = all(relative(weights_a[r], weights_b[r]) <= 8 * context.u for r in weights_a.keys() & weights_b.keys())
    terms = ours[0].size / len(ours[0]) + sum(w.size for w in weights_a.values())
    noise = reference.LAMBDA * terms**0.5 * context.u
    if before > noise or not same:
        return False
    difference = relative(a, b)
    if difference > 10 * (before + noise):
        evidence = f"inputs agree to {max(before, 1e-17):.0e} and weights too, outputs to {difference:.0e}"
        context.add("forward", where, difference, evidence, f"compare {x.native} of a with {y.native} of b")
    else:
        context.compared(difference, f"outputs of {where}")
    return True


def _missing(context: Context) -> None:
    """Layers that only one run has, if they change what passes through them."""
    for view, nodes, has, lacks in (
        (context.a, context.pairs.only_a, "a", "b"),
        (context.b, context.pairs.only_b, "b", "a"),
    ):
        places, effect = list[str](), 0.0
        theirs = context.pairs.only_b if has == "a" else context.pairs.only_a
        hidden = any(node.kind == "other" for node in theirs)  # a layer of the other run may contain it
        for node in nodes:
            if node.kind in _MINOR or (hidden and not node.parameters):
                continue
            inputs, output = view.inputs(node), view.output(node)
            change = 1.0
            if inputs is not None and output is not None and inputs[0].shape == output.shape:
                change = relative(inputs[0], output)
            if change > 8 * context.u:
                places.append(node.name)
                effect = max(effect, change)
        if places:
            kinds = sorted({node.kind for node in nodes if node.name in places})
            evidence = f"{', '.join(kinds)} in {has}, and no layer of {lacks} that fits"
            remedy = (
                "add it to b, or name its partner in a map"
                if has == "a"
                else "leave it out of b, or name its partner in a map"
            )
            context.add("missing-layer", places, effect, evidence, remedy)
