"""Resampling features to balance classes: imbalanced-learn's samplers, a Gaussian, a GAN."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xfer.data import Data, Split
from xfer.errors import UnknownNameError, UsageError, XferError
from xfer.features.gan import GanSpec, generated
from xfer.features.gaussian import drawn
from xfer.models.backend import Backend
from xfer.runtime.progress import step

_IMBLEARN = {
    "random-over": "over_sampling.RandomOverSampler",
    "smote": "over_sampling.SMOTE",
    "borderline-smote": "over_sampling.BorderlineSMOTE",
    "svm-smote": "over_sampling.SVMSMOTE",
    "adasyn": "over_sampling.ADASYN",
    "random-under": "under_sampling.RandomUnderSampler",
    "near-miss": "under_sampling.NearMiss",
    "tomek-links": "under_sampling.TomekLinks",
    "edited-neighbours": "under_sampling.EditedNearestNeighbours",
    "neighbourhood-cleaning": "under_sampling.NeighbourhoodCleaningRule",
    "smote-tomek": "combine.SMOTETomek",
    "smote-edited": "combine.SMOTEENN",
}
METHODS = (*_IMBLEARN, "gaussian", "gan")


def resample(
    data: Data,
    method: str | Any,
    *,
    seed: int = 0,
    backend: str | Backend | None = None,
    gan: GanSpec | None = None,
) -> Data:
    """The data set of features with another training split; validation and test stay as they are.

    Args:
        data: of `xfer.extract`, every training label known; maps (N, P, D) are resampled as vectors.
        method: one of `METHODS`, or a sampler with `fit_resample`. "gaussian" draws from a normal distribution a class
            with one shrunk covariance; "gan" is a conditional Wasserstein GAN (Xian et al. 2018), trained on
            `backend`. Both make every class as large as the largest.
        seed: of what is drawn.
        backend: for "gan".
        gan: its constants.

    Raises:
        UnknownNameError: no such method. UsageError: pictures, missing labels, or a class too small for the method.
    """
    split = data.train
    if split.after is None:
        raise UsageError("resampling works on features (N, D): call xfer.extract(model, data) first")
    if isinstance(method, str) and method in ("gaussian", "gan") and np.asarray(split.images).ndim != 2:
        raise UsageError(f"{method} works on features (N, D), and these are maps: take another method, or network")
    if (split.labels < 0).any() or split.targets is not None:
        raise UsageError("resampling needs one label an image: leave out images without, or pseudo-label them")
    if isinstance(method, str) and method in ("gaussian", "gan"):
        missing = _missing(split.labels)
        if method == "gaussian":
            made = drawn(np.asarray(split.images), split.labels, missing, seed)
        else:
            made = generated(np.asarray(split.images), split.labels, missing, gan or GanSpec(), seed, backend)
        return replace(data, train=_joined(split, made, missing, method))
    name = method if isinstance(method, str) else type(method).__name__
    sampler = _sampler(method, split.labels, seed) if isinstance(method, str) else method
    return replace(data, train=_sampled(split, sampler, name))


def _missing(labels: np.ndarray) -> np.ndarray:
    """Labels of the samples that make every class as large as the largest."""
    classes, counts = np.unique(labels, return_counts=True)
    return np.repeat(classes, counts.max() - counts)


def _joined(split: Split, made: np.ndarray, labels: np.ndarray, method: str) -> Split:
    _refuse_columns(split)
    return replace(
        split,
        images=np.concatenate([split.images, made.astype(split.images.dtype)]),  # type: ignore[attr-defined]
        labels=np.concatenate([split.labels, labels]),
        names=[*split.names, *(f"{method}/{i}" for i in range(len(labels)))],
    )


def _sampler(method: str, labels: np.ndarray, seed: int) -> Any:
    if method not in _IMBLEARN:
        raise UnknownNameError("resampling method", method, METHODS)
    try:
        import imblearn
    except ImportError:
        raise XferError('resampling needs imbalanced-learn: pip install "xfer-learn[imbalance]"') from None
    module, _, name = _IMBLEARN[method].partition(".")
    kind: Callable[..., Any] = getattr(getattr(imblearn, module), name)
    options: dict[str, Any] = {}
    if "random_state" in inspect.signature(kind).parameters:
        options["random_state"] = seed
    for neighbours in {"k_neighbors", "n_neighbors"} & inspect.signature(kind).parameters.keys():
        if module == "over_sampling":
            options[neighbours] = _neighbours(method, labels)
    if module == "combine":
        options["smote"] = imblearn.over_sampling.SMOTE(random_state=seed, k_neighbors=_neighbours(method, labels))
    return kind(**options)


def _neighbours(method: str, labels: np.ndarray) -> int:
    """How many neighbours of a sample its class has to offer, at most imbalanced-learn's 5."""
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    if smallest < 2:
        raise UsageError(f"{method} needs two samples of each class: a class has {smallest}")
    return min(5, smallest - 1)


def _sampled(split: Split, sampler: Any, name: str) -> Split:
    maps = np.asarray(split.images)
    features = maps.reshape(len(maps), -1)
    try:
        with step(f"resampling features with {name}"):
            x, y = sampler.fit_resample(features, split.labels)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{name} cannot resample this: {str(error).splitlines()[0]}") from None
    chosen = getattr(sampler, "sample_indices_", None)
    if chosen is not None and np.array_equal(features[chosen], x):  # a smoothed bootstrap makes others of them
        return split.subset(chosen)
    _refuse_columns(split)
    kept = min(len(split), len(x)) if len(x) >= len(split) and np.array_equal(x[: len(split)], features) else 0
    made = [f"{name}/{i}" for i in range(len(x) - kept)]
    images = np.asarray(x, features.dtype).reshape(len(x), *maps.shape[1:])
    return replace(split, images=images, labels=y, names=[*split.names[:kept], *made])


def _refuse_columns(split: Split) -> None:
    if split.columns is not None:
        raise UsageError("samples that are made have no columns: resample by leaving out or repeating, or drop columns")
