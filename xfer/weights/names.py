"""The names of a network's tensors without those of what wraps it, and from the numbers of its children."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from xfer.errors import WeightsError
from xfer.weights.fit import BESIDE

_DEPTH = 6  # of the names of wrappers
_SHARE = 8  # a network has at least this part of the tensors of a file
_AS_MANY = 0.9  # of the tensors under one prefix that another has, if it is the network once more
_COMPILED = "_orig_mod."  # what torch.compile puts before the names of what it compiled, anywhere


@dataclass(frozen=True)
class Inner:
    """The tensors of a network within those of a file.

    Args:
        arrays: by the names in the network, or as the file has them where nothing was found.
        prefix: what stood before these names, "model." or nothing.
        others: names of the tensors that do not begin with it.
    """

    arrays: dict[str, np.ndarray]
    prefix: str
    others: tuple[str, ...]


def without_prefix(
    arrays: Mapping[str, np.ndarray], block_of: Callable[[str], str | None], blocks: int, source: str
) -> Inner:
    """The tensors without what wrappers put before their names: `module.`, `_orig_mod.`, `model.`, `backbone.net.`, ...

    Where a prefix is there, what does not begin with it belongs to the wrapper (`n_averaged` of torch's averages).

    Args:
        arrays: by name.
        block_of: the block that a name belongs to, if it may be one of the network's.
        blocks: how many the network has; names of more than half of them are the network's.
        source: the file, for messages.

    Raises:
        WeightsError: the network is there more than once, under several prefixes.
    """
    known = {}
    for prefix in _prefixes(list(arrays)):
        inner = {name: block_of(_inside(name, prefix)) for name in arrays if name.startswith(prefix)}
        if 2 * len(set(inner.values()) - {None}) > blocks:
            known[prefix] = frozenset(name for name, block in inner.items() if block is not None)
    if not known:
        return Inner(dict(arrays), "", ())
    chosen = max(known, key=lambda prefix: (len(known[prefix]), len(prefix)))
    most = known[chosen]
    again = [p for p, names in known.items() if names.isdisjoint(most) and len(names) >= _AS_MANY * len(most)]
    if again:
        both = ", ".join(prefix or "no prefix" for prefix in sorted([chosen, *again]))
        example = f"weights='{source}#{max(chosen, *again, key=len)[:-1]}'"
        raise WeightsError(f"{source} has the network under {both}: choose with {example}")
    others = tuple(name for name in arrays if not name.startswith(chosen))
    found = {_inside(name, chosen): array for name, array in arrays.items() if name.startswith(chosen)}
    return Inner(found, chosen, others)


def _inside(name: str, prefix: str) -> str:
    return name[len(prefix) :].replace(_COMPILED, "")


def by_children(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], head: str
) -> dict[str, np.ndarray] | None:
    """The tensors of a network whose children were put into an `nn.Sequential`, which numbers them: `4.0.conv1.weight`.

    fastai's bodies and `nn.Sequential(*list(network.children())[:-1])` are such. The children that have tensors are
    taken in order, and each must have the very names and shapes of the network's, so that no other order is possible.

    Args:
        arrays: by name; a prefix before the numbers is left out, and so are children after the network's.
        shapes: of the network.
        head: canonical name of the classifier, which no such file keeps as it is.

    Returns:
        The tensors by canonical name without the head; None where they are not those of the network.
    """
    body = {name: shape for name, shape in shapes.items() if not name.startswith(f"{head}.")}
    wanted = _children({name: tuple(shape) for name, shape in body.items()})
    for prefix in _prefixes(list(arrays)):
        inner = {n[len(prefix) :]: array for n, array in arrays.items() if n.startswith(prefix)}
        given = _children({name: tuple(a.shape) for name, a in inner.items() if not name.endswith(BESIDE)})
        numbers = sorted((child for child in given if child.isascii() and child.isdigit()), key=int)
        pairs = list(zip(wanted, numbers, strict=False))
        if len(pairs) == len(wanted) and all(wanted[child] == given[number] for child, number in pairs):
            return {f"{c}.{tail}": inner[f"{n}.{tail}"] for c, n in pairs for tail in wanted[c]}
    return None


def _prefixes(names: list[str]) -> list[str]:
    """The prefixes that enough of the names share, the shortest first; nothing is one of them."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        for depth in range(min(len(parts), _DEPTH)):
            prefix = "".join(f"{part}." for part in parts[:depth])
            counts[prefix] = counts.get(prefix, 0) + 1
    return sorted((prefix for prefix, count in counts.items() if count * _SHARE >= len(names)), key=len)


def _children(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes by child and by name within it, in the order of the children."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        child, _, tail = name.partition(".")
        found.setdefault(child, {})[tail] = shape
    return found
