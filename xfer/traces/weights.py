"""Stage three: do the runs begin with the same weights, in layouts that mean the same?"""

from __future__ import annotations

import numpy as np

from xfer.traces import reference
from xfer.traces.context import Context
from xfer.traces.pairing import gate_order
from xfer.traces.view import Array, Node, relative


def weights(context: Context) -> None:
    """Compare all tensors before the first step."""
    _flatten_orders(context)
    drawn: list[tuple[str, float, str]] = []
    for name in context.pairs.tensors:
        a, b = context.a.tensor(name, f"before/{name}", 0), context.pairs.other(context.b, name, "before/*", 0)
        if a is None or b is None or not np.issubdtype(a.dtype, np.floating):
            continue
        difference = relative(a, b)
        if difference <= 8 * context.u:
            context.compared(difference, f"weights: {name}")
            continue
        layout = _layout(a, b) if a.shape == b.shape else ""
        if layout:
            context.add("weight-layout", context.pairs.named(name), difference, f"a is b {layout}",
                        f"move {context.pairs.tensors[name][0]} {layout}")  # fmt: skip
        else:
            drawn.append((name, difference, f"standard deviation {a.std():.3g} in a, {b.std():.3g} in b"))
    _drawn(context, drawn)
    for view, names, said in ((context.a, context.pairs.tensors_a, "a"), (context.b, context.pairs.tensors_b, "b")):
        if names:
            context.notes.append(f"only in {said}: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}")
        del view


def _drawn(context: Context, drawn: list[tuple[str, float, str]]) -> None:
    """Tensors with other values: drawn anew, if they are many; else other weights."""
    if not drawn:
        return
    places, (_, _, evidence) = [context.pairs.named(name) for name, _, _ in drawn], drawn[0]
    cause = "initialisation" if all(_is_kernel(context, name) for name, _, _ in drawn[:1]) else "weights"
    remedy = "begin with the same weights: save those of a, and load them into b in its layouts"
    context.add(cause, places, max(d for _, d, _ in drawn), f"{places[0]}: {evidence}", remedy)


def _is_kernel(context: Context, name: str) -> bool:
    array = context.a.tensor(name, f"before/{name}", 0)
    return array is not None and array.ndim > 1


def _layout(a: Array, b: Array) -> str:
    """What must be done to b's tensor for it to be a's; "" if nothing helps."""

    def same(other: Array) -> bool:
        return a.shape == other.shape and np.allclose(a, other, rtol=1e-5, atol=1e-7)

    if a.ndim == 2 and same(b.T):
        return "transposed"
    if a.ndim == 4:
        if same(b.swapaxes(2, 3)):
            return "with height and width exchanged"
        if same(b[:, :, ::-1, ::-1]):
            return "mirrored in height and width"
        if same(b.swapaxes(0, 1)):
            return "with inputs and outputs exchanged"
        if a.shape[1] == 3 and same(b[:, ::-1]):
            return "with the input channels reversed"
    if a.shape and a.shape[0] > 1 and same(b[::-1]):
        return "reversed along its outputs"
    order = gate_order(a, b) if a.shape else None
    return f"with its gates in the order {order}" if order is not None else ""


def _flatten_orders(context: Context) -> None:
    """Dense layers after a flattening in another order: either their columns were moved with it, or not."""
    for x, y in context.pairs.nodes:
        if x.kind != "dense" or "weight" not in x.parameters:
            continue
        ours, theirs = context.a.flattened(x), context.b.flattened(y)
        if ours is None or theirs is None or ours[1] == theirs[1] or int(np.prod(ours[0][1:])) == 1:
            continue
        name = x.parameters["weight"]
        a, b = context.a.tensor(name, f"before/{name}", 0), context.pairs.other(context.b, name, "before/*", 0)
        if a is None or b is None or a.shape != b.shape:
            continue
        order = _columns(ours[0], theirs[1])
        if np.allclose(a, b, rtol=1e-5, atol=1e-7) and not np.allclose(b, b[:, order], rtol=1e-5, atol=1e-7):
            _same_columns(context, x, y, order, theirs[1])
        else:
            context.pairs.flat[name] = order


def _columns(shape: tuple[int, ...], theirs: str) -> Array:
    """For each column of a weight that follows a's order the place in one that follows the other's."""
    if theirs == "last":
        return np.moveaxis(np.arange(np.prod(shape)).reshape(*shape[1:], shape[0]), -1, 0).ravel()
    return np.moveaxis(np.arange(np.prod(shape)).reshape(shape), 0, -1).ravel()


def _same_columns(context: Context, x: Node, y: Node, order: Array, theirs: str) -> None:
    """The finding: the same weights, and inputs in another order."""
    inputs, effect = context.a.inputs(x), 1.0
    if inputs is not None:
        w = context.a.weights(x)
        moved = dict(w, weight=w["weight"][:, order])
        effect = relative(
            reference.compute("dense", {}, inputs, w)[0], reference.compute("dense", {}, inputs, moved)[0]
        )
    channels = "(H, W, C)" if theirs == "last" else "(C, H, W)"
    where = context.pairs.where(x, y)
    if context.b.keras:
        remedy = "x = keras.layers.Permute((3, 1, 2))(x) before Flatten, or reorder the rows of the dense kernel"
    else:
        remedy = "x = x.permute(0, 2, 3, 1) before flatten, or reorder the columns of the weight"
    evidence = f"b flattens {channels}, a the other order, and both multiply by the same weights"
    context.add("flatten-order", where, effect, evidence, remedy)
