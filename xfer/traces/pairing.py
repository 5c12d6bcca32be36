"""Which layer and which tensor of one run is which of the other: by map, name, values, shape and order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from xfer.errors import UsageError
from xfer.traces.view import Array, Node, View

_GAP = 0.0
_SAME_VALUES, _SAME_NAME, _SAME_SHAPE, _SAME_KIND = 10.0, 5.0, 4.0, 2.0


@dataclass
class Pairs:
    """What belongs together.

    Attributes:
        nodes: pairs of layers, in the order of the first run.
        only_a, only_b: layers without a partner.
        tensors: names of the first run, each with that of the second and the axes in which the latter is turned.
        tensors_a, tensors_b: tensors without a partner.
        flat: tensors whose columns are reordered, for the second run flattens in another order, with that order.
        layouts: how many tensors of the second run are read in which layout.
    """

    nodes: list[tuple[Node, Node]] = field(default_factory=list)
    only_a: list[Node] = field(default_factory=list)
    only_b: list[Node] = field(default_factory=list)
    tensors: dict[str, tuple[str, tuple[int, ...] | None]] = field(default_factory=dict)
    tensors_a: list[str] = field(default_factory=list)
    tensors_b: list[str] = field(default_factory=list)
    flat: dict[str, Array] = field(default_factory=dict)
    layouts: dict[str, int] = field(default_factory=dict)

    def where(self, a: Node, b: Node) -> str:
        """Names of a pair of layers."""
        return a.name if a.name == b.name else f"{a.name} = {b.name}"

    def named(self, name: str) -> str:
        """Names of a pair of tensors, by that of the first run."""
        other = self.tensors[name][0]
        return name if name == other else f"{name} = {other}"

    def other(self, b: View, name: str, key: str, step: int) -> Array | None:
        """The array of the second run that belongs to a tensor of the first, in the first one's layout."""
        theirs, axes = self.tensors[name]
        found = b.tensor(theirs, key.replace("*", theirs), step)
        if found is None:
            return None
        found = found if axes is None or found.ndim != len(axes) else found.transpose(axes)
        return found[:, self.flat[name]] if name in self.flat and found.ndim == 2 else found


def pair(a: View, b: View, given: Mapping[str, str]) -> Pairs:
    """Pair layers and tensors.

    Args:
        a, b: the runs.
        given: names of layers or tensors of the first run, and of the second.

    Raises:
        UsageError: a name that is given is not there.
    """
    for own, other in given.items():
        for name, view in ((own, a), (other, b)):
            if name not in {node.name for node in view.nodes} and name not in view.tensors:
                raise UsageError(f"the map names {name!r}, which is no layer and no tensor of {view.trace.path}")
    found = Pairs()
    chosen = _mapped(a, b, given)
    found.nodes = chosen + _aligned(a, b, chosen)
    found.nodes += _left_over(a, b, found.nodes)
    order = {id(node): i for i, node in enumerate(a.nodes)}
    found.nodes.sort(key=lambda each: order[id(each[0])])
    ours, theirs = {id(x) for x, _ in found.nodes}, {id(y) for _, y in found.nodes}
    found.only_a = [node for node in a.nodes if id(node) not in ours]
    found.only_b = [node for node in b.nodes if id(node) not in theirs]
    _pair_tensors(a, b, found, given)
    return found


def _mapped(a: View, b: View, given: Mapping[str, str]) -> list[tuple[Node, Node]]:
    ours, theirs = ({node.name: node for node in view.nodes} for view in (a, b))
    return [(ours[x], theirs[y]) for x, y in given.items() if x in ours and y in theirs]


def _shape(view: View, node: Node) -> tuple[int, ...] | None:
    name = node.parameters.get("weight") or next(iter(node.parameters.values()), None)
    array = None if name is None else view.tensor(name, f"before/{name}", 0)
    return None if array is None else array.shape


def _words(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _kernel(view: View, node: Node) -> Array | None:
    name = node.parameters.get("weight")
    array = None if name is None else view.tensor(name, f"before/{name}", 0)
    return None if array is None or array.ndim < 2 else array


class _Scores:
    """How well two layers fit."""

    def __init__(self, a: View, b: View) -> None:
        self.a = {id(n): (n, _shape(a, n), _kernel(a, n), _words(n.name)) for n in a.nodes}
        self.b = {id(n): (n, _shape(b, n), _kernel(b, n), _words(n.name)) for n in b.nodes}

    def __call__(self, x: Node, y: Node) -> float:
        _, shape_x, kernel_x, name_x = self.a[id(x)]
        _, shape_y, kernel_y, name_y = self.b[id(y)]
        pools = {"pool", "global_pool"}
        if x.kind != y.kind and not {x.kind, y.kind} <= pools:
            return -np.inf
        if shape_x != shape_y and (shape_x is None or shape_y is None or x.kind != "other"):
            if shape_x is None or shape_y is None or len(shape_x) != len(shape_y) or name_x != name_y:
                return -np.inf if x.kind not in ("batch_norm", "layer_norm", "group_norm") else 0.1
            return 0.1
        score = _SAME_KIND if shape_x is None else _SAME_SHAPE
        score += _SAME_NAME if name_x == name_y else 0
        same = kernel_x is not None and kernel_y is not None and np.allclose(kernel_x, kernel_y, rtol=1e-3, atol=1e-6)
        return score + (_SAME_VALUES if same else 0)


def _aligned(a: View, b: View, chosen: Sequence[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
    """The pairs of the best alignment that keeps the order of both (Needleman and Wunsch 1970)."""
    taken = {id(n) for each in chosen for n in each}
    ours, theirs = ([n for n in view.nodes if id(n) not in taken] for view in (a, b))
    scores = _Scores(a, b)
    table = np.zeros((len(ours) + 1, len(theirs) + 1))
    fits = np.array([[scores(x, y) for y in theirs] for x in ours]).reshape(len(ours), len(theirs))
    for i in range(len(ours) - 1, -1, -1):
        for j in range(len(theirs) - 1, -1, -1):
            table[i, j] = max(table[i + 1, j] + _GAP, table[i, j + 1] + _GAP, table[i + 1, j + 1] + fits[i, j])
    found, i, j = [], 0, 0
    while i < len(ours) and j < len(theirs):
        if table[i, j] == table[i + 1, j + 1] + fits[i, j]:
            found.append((ours[i], theirs[j]))
            i, j = i + 1, j + 1
        elif table[i, j] == table[i + 1, j]:
            i += 1
        else:
            j += 1
    return found


def _left_over(a: View, b: View, found: Sequence[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
    """Layers with weights that stand in another order: branches that the other run computes first."""
    taken = {id(n) for each in found for n in each}
    ours, theirs = ([n for n in view.nodes if id(n) not in taken and n.parameters] for view in (a, b))
    scores, more = _Scores(a, b), []
    every = sorted(((-scores(x, y), i, j) for i, x in enumerate(ours) for j, y in enumerate(theirs)))
    used_a: set[int] = set()
    used_b: set[int] = set()
    for score, i, j in every:
        if -score >= _SAME_SHAPE and i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            more.append((ours[i], theirs[j]))
    return more


def _pair_tensors(a: View, b: View, found: Pairs, given: Mapping[str, str]) -> None:
    for x, y in found.nodes:
        for role in x.parameters.keys() & y.parameters.keys():
            found.tensors.setdefault(x.parameters[role], (y.parameters[role], None))
    found.tensors |= {x: (y, None) for x, y in given.items() if x in a.tensors and y in b.tensors}
    ours = [name for name in a.tensors if name not in found.tensors]
    used = {name for name, _ in found.tensors.values()}
    theirs = [name for name in b.tensors if name not in used]
    for name in ours:
        match = _best(a, b, name, theirs)
        if match is not None:
            found.tensors[name] = match
            theirs.remove(match[0])
    order = {name: i for i, name in enumerate(a.tensors)}
    found.tensors = dict(sorted(found.tensors.items(), key=lambda each: order[each[0]]))
    found.tensors_a = [name for name in a.tensors if name not in found.tensors]
    found.tensors_b = theirs
    for theirs_name, axes in found.tensors.values():
        said = b.layout(theirs_name) or (f"axes {axes}" if axes else "")
        if said:
            found.layouts[said] = found.layouts.get(said, 0) + 1


def _best(a: View, b: View, name: str, names: Sequence[str]) -> tuple[str, tuple[int, ...] | None] | None:
    """The tensor of the second run that one of an unknown layer is: by values in any order of axes, else by shape."""
    own = a.tensor(name, f"before/{name}", 0)
    if own is None:
        return None
    by_shape: tuple[str, tuple[int, ...] | None] | None = None
    for each in names:
        other = b.tensor(each, f"before/{each}", 0)
        if other is None or sorted(other.shape) != sorted(own.shape):
            continue
        for axes in permutations(range(own.ndim)) if own.ndim <= 5 else ():
            turned = other.transpose(axes)
            if turned.shape == own.shape:
                same = axes == tuple(range(own.ndim))
                if own.std() > 0 and np.allclose(own, turned, rtol=1e-5, atol=1e-7):
                    return each, None if same else axes
                by_shape = by_shape or (each, None if same else axes)
    return by_shape


def gate_order(own: Array, other: Array) -> tuple[int, ...] | None:
    """The order in which the gates of a recurrent layer stand in the other array: four of an LSTM, three of a GRU."""
    for gates in (4, 3):
        if own.shape != other.shape or own.shape[0] % gates:
            continue
        blocks = np.split(other, gates)
        for order in permutations(range(gates)):
            if np.allclose(own, np.concatenate([blocks[i] for i in order]), rtol=1e-5, atol=1e-7):
                return order
    return None
