"""Class weights and priors for classes of unequal size."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal, get_args

from xfer.errors import UnknownNameError, UsageError

ClassWeights = Literal["none", "balanced", "effective"]


def class_weights(counts: Collection[int], kind: ClassWeights = "balanced", beta: float = 0.999) -> tuple[float, ...]:
    """Weights of classes by their numbers of images, with mean 1 over the images.

    Args:
        counts: images of each class; a class without any gets weight 0.
        kind: "balanced" weighs by 1 / n; "effective" by (1 - beta) / (1 - beta^n), the inverse of the effective number
            of samples (Cui et al. 2019, arXiv:1901.05555); "none" by 1.
        beta: in [0, 1); 0 is "none", near 1 is "balanced".

    Raises:
        UnknownNameError, UsageError: no such kind, or no images at all.
    """
    if kind not in get_args(ClassWeights):
        raise UnknownNameError("class weights", kind, get_args(ClassWeights))
    if not 0.0 <= beta < 1.0:
        raise UsageError(f"beta={beta} is not in [0, 1): give for example 0.999")
    if sum(counts) < 1:
        raise UsageError("no class has an image: class weights need some")
    sizes = [{"none": 1.0, "balanced": float(n), "effective": (1 - beta**n) / (1 - beta)}[kind] for n in counts]
    weights = [1.0 / size if n else 0.0 for n, size in zip(counts, sizes, strict=True)]
    mean = sum(w * n for w, n in zip(weights, counts, strict=True)) / sum(counts)
    return tuple(w / mean for w in weights)


def log_prior(counts: Collection[int], tau: float = 1.0) -> tuple[float, ...]:
    """tau times the logarithm of each class's share of the images; a class without any counts as one image."""
    total = sum(max(n, 1) for n in counts)
    return tuple(tau * math.log(max(n, 1) / total) for n in counts)
