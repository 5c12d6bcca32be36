"""A map of the features: the head's inputs of images, in two dimensions by principal component analysis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import Loader, Split
from xfer.features.cache import FeatureCache
from xfer.models.base_model import BaseModel
from xfer.report.thumbnails import data_uri, sheet, small
from xfer.specs.inputs import head_inputs

MOST_POINTS = 2000
MOST_PICTURES = 400
MOST_COLOURS = 12
_TILE, _COLUMNS, _QUALITY = 72, 20, 60
_WIDTH, _HEIGHT, _MARGIN = 1000.0, 620.0, 14.0
_NAME = 80  # characters


@dataclass(frozen=True)
class FeatureMap:
    """What the page draws.

    Args:
        layers: (kind, place of the class's colour or -1, SVG path) from back to front; kinds are "right", "ring" and
            "wrong".
        legend: (place, class, images) of the coloured classes.
        points: JSON of what JavaScript shows of each point.
        sheet: data URI of the pictures in one, or None.
        images, of: how many images the map has, and how many were evaluated.
        pictures: how many of them have a picture.
        variance: share of the features' variance along both axes.
        height: of the drawing, which is 1000 wide.
        others: classes without a colour of their own, which are grey.
    """

    layers: tuple[tuple[str, int, str], ...]
    legend: tuple[tuple[int, str, int], ...]
    points: str
    sheet: str | None
    images: int
    of: int
    pictures: int
    variance: tuple[float, float]
    height: int
    others: int


def features_of(
    model: BaseModel, split: Split, indices: np.ndarray, *, batch_size: int, cache: bool | str | Path | FeatureCache
) -> tuple[np.ndarray, np.ndarray]:
    """Features (M, D) of images of a split by index, and the indices of those that could be read, int64 (M,)."""
    chosen = replace(split.subset(indices), columns=None, column_names=(), targets=None)
    if (kept := FeatureCache.of(cache)) is not None:
        chosen = kept.look_up(model, chosen, workers=None)
    loader = Loader(chosen, model.spec.preprocessing, batch_size=batch_size, workers=None)
    rows, places = [], []
    for batch in loader.epoch(0, allow_nothing=True):
        rows.append(head_inputs(model.stage(batch.inputs, "features"), None))
        places.append(batch.indices)
    if not rows:
        return np.zeros((0, model.card.feature_dim), np.float32), np.zeros(0, np.int64)
    return np.concatenate(rows), np.asarray(indices)[np.concatenate(places)]


def project(features: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Coordinates (M, 2) on the first two principal components, and the share of variance along each."""
    from sklearn.decomposition import PCA

    components = min(2, *features.shape)
    found, shares = np.zeros((len(features), 2)), np.zeros(2)
    if len(features) > 1 and np.ptp(features, axis=0).any():
        pca = PCA(components, random_state=0)
        found[:, :components] = pca.fit_transform(features.astype(np.float64))
        shares[:components] = pca.explained_variance_ratio_
    return found, (float(shares[0]), float(shares[1]))


def sample(count: int, most: int = MOST_POINTS) -> np.ndarray:
    """Indices of at most so many of `count` images, drawn by a fixed seed, ascending, int64."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def feature_map(
    features: np.ndarray,
    rows: np.ndarray,
    answers: Sequence[dict[str, Any]],
    classes: Sequence[str],
    split: Split | None,
    places: np.ndarray,
    of: int,
) -> FeatureMap:
    """The map of M images.

    Args:
        features: (M, D).
        rows: int64 (M, 2), the true and the predicted class of each, -1 where there is none.
        answers: "name" and "text" of each, for people.
        classes: names.
        split: of pictures, or None where there are none.
        places: int64 (M,), where each is in the split.
        of: images that were evaluated.
    """
    xy, variance = project(features)
    points, height = _on_paper(xy)
    coloured = _coloured(rows)
    place = np.array([coloured.index(label) if label in coloured else -1 for label in rows[:, 0]])
    wrong = (rows[:, 0] != rows[:, 1]) & (rows[:, 1] >= 0) & (rows[:, 0] >= 0)
    layers = [("right", c, _path(points[(place == c) & ~wrong])) for c in (-1, *range(len(coloured)))]
    layers += [("ring", c, _path(points[(place == c) & wrong])) for c in (-1, *range(len(coloured)))]
    layers += [("wrong", c, _path(points[(place == c) & wrong])) for c in (-1, *range(len(coloured)))]
    tiles, pictures = _sheet(split, places, wrong)
    document = {
        "x": points[:, 0].tolist(),
        "y": points[:, 1].tolist(),
        "c": place.tolist(),
        "t": [tiles.get(i, -1) for i in range(len(points))],
        "n": [_cut(each["name"]) for each in answers],
        "a": [each["text"] for each in answers],
        "tile": _TILE,
        "columns": _COLUMNS,
    }
    counts = np.bincount(rows[:, 0][rows[:, 0] >= 0], minlength=len(classes))
    return FeatureMap(
        layers=tuple(layer for layer in layers if layer[2]),
        legend=tuple((i, classes[c], int(counts[c])) for i, c in enumerate(coloured)),
        points=json.dumps(document, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026"),
        sheet=pictures,
        images=len(points),
        of=of,
        pictures=len(tiles),
        variance=variance,
        height=height,
        others=int((counts > 0).sum()) - len(coloured),
    )


def _coloured(rows: np.ndarray) -> list[int]:
    """Classes that have a colour: all of `MOST_COLOURS` or fewer, else those with the most mistakes."""
    present = np.unique(rows[rows[:, 0] >= 0, 0])
    if len(present) <= MOST_COLOURS:
        return [int(c) for c in present]
    wrong = np.bincount(rows[(rows[:, 0] != rows[:, 1]) & (rows[:, 0] >= 0), 0], minlength=int(present.max()) + 1)
    worst = sorted(present.tolist(), key=lambda c: (-wrong[c], c))[:MOST_COLOURS]
    return sorted(worst)


def _on_paper(xy: np.ndarray) -> tuple[np.ndarray, int]:
    """Whole coordinates of points, the same scale along both axes, upwards as in a chart; and the height needed."""
    low, span = xy.min(axis=0), np.ptp(xy, axis=0)
    width, height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    scale = min(width / span[0] if span[0] else np.inf, height / span[1] if span[1] else np.inf)
    scale = scale if np.isfinite(scale) else 1.0
    used = max(span[1] * scale, 0.3 * height)
    shift = np.array([(width - span[0] * scale) / 2, (used - span[1] * scale) / 2]) + _MARGIN
    points = (xy - low) * scale + shift
    points[:, 1] = used + 2 * _MARGIN - points[:, 1]
    return np.round(points, 1), int(np.ceil(used + 2 * _MARGIN))


def _path(points: np.ndarray) -> str:
    """Each point as a line of no length, which round ends make a dot."""
    return "".join(f"M{x:g} {y:g}h.01" for x, y in points)


def _sheet(split: Split | None, places: np.ndarray, wrong: np.ndarray) -> tuple[dict[int, int], str | None]:
    """The tile of each point that has a picture, and all pictures in one: of wrong predictions first, then drawn."""
    if split is None:
        return {}, None
    rng = np.random.default_rng(0)
    order = [*rng.permutation(np.flatnonzero(wrong)), *rng.permutation(np.flatnonzero(~wrong))][:MOST_PICTURES]
    found = small(split, places[np.sort(order)].tolist(), _TILE)
    if not found:
        return {}, None
    tile = {index: number for number, index in enumerate(found)}
    picture = sheet(list(found.values()), _TILE, _COLUMNS)
    tiles = {int(i): tile[int(places[i])] for i in order if int(places[i]) in tile}
    return tiles, data_uri(picture, max(picture.size), _QUALITY)


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else "…" + name[1 - _NAME :]
