"""Near-duplicates: the same picture resized, encoded again, mirrored, or changed in brightness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xfer.data.audit.appearance import Appearance
from xfer.data.audit.duplicates import Place

# Photographs of different things reach 0.73 (hymenoptera) and 0.85 (4.5 million pairs of CIFAR-10); copies at half the
# size, as JPEG of quality 40, mirrored or brighter by a fifth have 0.9 to 1.
SIMILAR = 0.9
SMALL, SIMILAR_IF_SMALL = 32, 0.98  # pixels of the shorter side, below which there is less to compare
_BLOCK = 256  # images that are compared with all others at once


@dataclass(frozen=True)
class NearDuplicates:
    """Images that show nearly the same, of which some two have different pixels.

    Args:
        places: the images, in the order of the data.
        similarity: of the closest two that have different pixels, see `same_picture`.
    """

    places: tuple[Place, ...]
    similarity: float

    @property
    def labels(self) -> tuple[str, ...]:
        """Their different labels."""
        return tuple(dict.fromkeys(place.label for place in self.places if place.label is not None))

    @property
    def splits(self) -> tuple[str, ...]:
        """Their different splits."""
        return tuple(dict.fromkeys(place.split for place in self.places))


def same_picture(found: Sequence[Appearance]) -> tuple[np.ndarray, list[tuple[int, int, float]]]:
    """Which images show the same picture: a number for each, int64 (N,), and the pairs that are not copies.

    The similarity of two images is the cosine of the gradients of their 16-pixel thumbnails (luma), of one of them
    mirrored if that is higher. From 0.9 on they are near-duplicates; if one is smaller than 32 pixels, from 0.98.
    Images of equal pixels, and near-duplicates of near-duplicates, have the same number. Every pair is compared: the
    time is quadratic.

    Returns:
        The numbers, and for each pair the two indices and the similarity.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    by_digest: dict[bytes, int] = {}
    copies = [by_digest.setdefault(each.digest, i) for i, each in enumerate(found)]
    first = list(by_digest.values())
    pairs = [(first[i], first[j], similarity) for i, j, similarity in _pairs([found[i] for i in first])]
    edges = [(i, j) for i, j, _ in pairs] + list(enumerate(copies))
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), bool), (rows, columns)), shape=(len(found), len(found)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64), pairs


def near_duplicates(
    places: Sequence[Place], groups: np.ndarray, pairs: Sequence[tuple[int, int, float]]
) -> list[NearDuplicates]:
    """The groups that `same_picture` found: first those with different labels, then those in several splits.

    Args:
        places: of the images.
        groups: what it returns.
        pairs: likewise.
    """
    closest: dict[int, float] = {}
    for i, _, similarity in pairs:
        group = int(groups[i])
        closest[group] = max(similarity, closest.get(group, -1.0))
    members: dict[int, list[Place]] = {group: [] for group in closest}
    for place, group in zip(places, groups.tolist(), strict=True):
        if group in members:
            members[group].append(place)
    found = [NearDuplicates(tuple(members[group]), closest[group]) for group in closest]
    return sorted(found, key=lambda g: (len(g.labels) < 2, len(g.splits) < 2, -g.similarity, g.places[0].name))


def _pairs(found: Sequence[Appearance]) -> Iterator[tuple[int, int, float]]:
    """Pairs of indices, the smaller first, and their similarity."""
    if not found:
        return
    luma = np.stack([each.thumbnail for each in found])
    plain, mirrored = _gradients(luma), _gradients(luma[:, :, ::-1])
    small = np.array([min(each.width, each.height) < SMALL for each in found])
    for start in range(0, len(found), _BLOCK):
        here = slice(start, start + _BLOCK)
        alike = np.maximum(plain[here] @ plain[start:].T, plain[here] @ mirrored[start:].T)
        for i, j in np.argwhere(np.triu(alike >= SIMILAR, 1)).tolist():
            either_small = small[start + i] or small[start + j]
            if not either_small or alike[i, j] >= SIMILAR_IF_SMALL:
                yield start + i, start + j, round(float(alike[i, j]), 4)


def _gradients(luma: np.ndarray) -> np.ndarray:
    """Differences of neighbouring pixels of thumbnails, with norm 1: float32 (N, D); of a flat one, zeros."""
    steps = [np.diff(luma, axis=axis).reshape(len(luma), -1) for axis in (1, 2)]
    rows = np.concatenate(steps, axis=1).astype(np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6))
