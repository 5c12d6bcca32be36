"""Which images an epoch takes when classes are of different sizes."""

from __future__ import annotations

import numpy as np

from xfer.errors import UsageError
from xfer.specs.choices import Sampling


def quotas(labels: np.ndarray, sampling: Sampling) -> np.ndarray:
    """How many images of each class an epoch takes, int64 (K,) for the classes there are, in ascending order.

    With n images in K classes, of which the largest has `most` and the smallest `least`:

    - none: every image once.
    - over: `most` of each class, K * most images in all. Every image is taken.
    - under: `least` of each class, K * least images. None is taken twice.
    - balanced: n // K of each class, n - n % K images: an epoch as long as before, but of equal classes.

    Args:
        labels: int64 (n,).
        sampling: one of these words.

    Raises:
        UsageError: equal classes are wanted of images without labels.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    if sampling == "none" or not len(classes):
        return np.asarray(sizes, np.int64)
    if classes[0] < 0:
        raise UsageError(f"sampling={sampling!r} needs labels, which {sizes[0]} images lack: use sampling='none'")
    size = {"over": sizes.max(), "under": sizes.min(), "balanced": len(labels) // len(classes)}[sampling]
    return np.full(len(classes), size, np.int64)


def sample(labels: np.ndarray, sampling: Sampling, rng: np.random.Generator) -> np.ndarray:
    """Sorted indices int64 of one epoch's images; the same for the same state of `rng`.

    A class of m images with quota q gives each image q // m times, and q % m of them, drawn without replacement, once
    more: so no two images of a class differ by more than one in how often they are taken.

    Args:
        labels: int64 (n,).
        sampling: see `quotas`.
        rng: draws the images that are taken once more.
    """
    ends = np.cumsum(np.unique(labels, return_counts=True)[1])
    members = np.split(np.argsort(labels, kind="stable"), ends)[:-1]
    taken = [_repeated(each, int(q), rng) for each, q in zip(members, quotas(labels, sampling), strict=True)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *taken]))


def buffered(order: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """An order (N,) shuffled through a buffer, as `tf.data.Dataset.shuffle(size)` does it.

    The buffer holds the first `size` elements; each that is drawn from it is replaced by the next of the order.
    """
    held, found = order[:size].copy(), np.empty_like(order)
    for place in range(len(order)):
        drawn = int(rng.integers(len(held)))
        found[place] = held[drawn]
        following = place + size
        held[drawn] = order[following] if following < len(order) else held[-1]
        held = held if following < len(order) else held[:-1]
    return found


def repetitions(order: np.ndarray) -> np.ndarray:
    """For each place of an order of indices, or labels, how often it came before: int64 (N,), 0 for the first."""
    places = np.argsort(order, kind="stable")
    _, first, counts = np.unique(order[places], return_index=True, return_counts=True)
    found = np.empty(len(order), np.int64)
    found[places] = np.arange(len(order)) - np.repeat(first, counts)
    return found


def _repeated(members: np.ndarray, quota: int, rng: np.random.Generator) -> np.ndarray:
    whole, rest = divmod(quota, len(members))
    return np.concatenate([np.tile(members, whole), rng.permutation(members)[:rest]])
