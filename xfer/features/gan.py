"""A conditional Wasserstein GAN that generates features (f-CLSWGAN), with one training loop for all backends.

Xian, Lorenz, Schiele, Akata: Feature generating networks for zero-shot learning, 2018 (arXiv:1712.00981), with the
gradient penalty of Gulrajani et al. 2017 (arXiv:1704.00028). Weights, order, noise and interpolation are drawn in
NumPy, so that the backends make the same run.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from xfer.errors import BackendError, NumbersError, UsageError
from xfer.models.backend import Backend, any_backend
from xfer.runtime.progress import each
from xfer.specs.initialization import uniform
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.precision import Precision
from xfer.specs.update import UpdateSpec

UPDATE = UpdateSpec(OptimizerSpec("adam", betas=(0.5, 0.999)))
SLOPE = 0.2  # of leaky ReLU below zero


@dataclass(frozen=True)
class GanSpec:
    """Constants of the GAN; those of the paper, but for width, rate and updates, which suit small data sets.

    Args:
        noise: numbers that a sample is made from.
        hidden: width of the one hidden layer of generator and critic.
        updates: of the generator.
        critic_updates: of the critic before each of them.
        penalty: weight of the gradient penalty.
        classification: weight of the loss of a linear classifier, trained before on the true features.
        rate: learning rate of both.
        batch_size: samples an update.
        precision: "fp32" or "fp64".
    """

    noise: int = 64
    hidden: int = 512
    updates: int = 1500
    critic_updates: int = 5
    penalty: float = 10.0
    classification: float = 0.01
    rate: float = 5e-4
    batch_size: int = 64
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        for name in ("noise", "hidden", "updates", "critic_updates", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"GAN {name}={getattr(self, name)}: give at least 1")

    def shapes(self, features: int, classes: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all weights, linear ones (out, in)."""
        widths = {
            "generator.hidden": (self.hidden, self.noise + classes),
            "generator.out": (features, self.hidden),
            "critic.hidden": (self.hidden, features + classes),
            "critic.out": (1, self.hidden),
        }
        return {
            name: shape
            for layer, weight in widths.items()
            for name, shape in ((f"{layer}.weight", weight), (f"{layer}.bias", weight[:1]))
        }


class Gan(ABC):
    """Generator and critic on a backend; `a ~ b` below is a linear layer, leaky ReLU, and another linear layer.

    The generator makes `G(z, c) = z, c ~ x`, the critic judges `C(x, c) = x, c ~ number`, both of rows side by side.

    Args:
        weights: by the names of `GanSpec.shapes`.
        classifier: weight (K, D) and bias (K,) of the linear classifier, which is not trained.
        spec: the constants.
    """

    @abstractmethod
    def critic_step(self, real: np.ndarray, onehot: np.ndarray, noise: np.ndarray, mix: np.ndarray) -> float:
        """One update of the critic on `mean C(G) - mean C(real) + penalty * mean (|dC/dx| - 1)^2`.

        The gradient is taken at `mix * real + (1 - mix) * G`.

        Args:
            real: features (B, D). onehot: classes (B, K). noise: (B, Z). mix: (B, 1), in [0, 1].

        Returns:
            The loss before the update.
        """

    @abstractmethod
    def generator_step(self, noise: np.ndarray, onehot: np.ndarray) -> float:
        """One update of the generator on `-mean C(G) + classification * cross-entropy`; the loss before it."""

    @abstractmethod
    def generate(self, noise: np.ndarray, onehot: np.ndarray) -> np.ndarray:
        """Features (B, D)."""


@runtime_checkable
class SupportsGan(Protocol):
    """A backend that can train the GAN; an optional capability."""

    def gan(self, weights: Mapping[str, np.ndarray], classifier: tuple[np.ndarray, np.ndarray], spec: GanSpec) -> Gan:
        """Generator and critic with these weights, on the CPU; see `Gan`."""


def generated(
    features: np.ndarray,
    labels: np.ndarray,
    wanted: np.ndarray,
    spec: GanSpec,
    seed: int,
    backend: str | Backend | None,
    losses: list[tuple[float, float]] | None = None,
) -> np.ndarray:
    """Features (M, D) of the classes wanted, from a GAN trained on features (N, D) and labels int64 (N,).

    Classes are drawn equally often. Features are standardised for the networks, and put back after.

    Args:
        losses: gets the critic's and the generator's loss of each update.

    Raises:
        UsageError: samples of one class alone. NumbersError: the GAN diverges.
    """
    from sklearn.linear_model import LogisticRegression

    x = np.asarray(features, np.float64)
    mean, std = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    x = (x - mean) / std
    classes = np.unique(labels)
    if len(classes) < 2:
        raise UsageError("a GAN needs samples of two classes or more")
    onehot = np.eye(len(classes))
    places = np.searchsorted(classes, labels)
    judge = LogisticRegression(max_iter=1000, class_weight="balanced").fit(x, places)
    classifier = _per_class(judge.coef_), _per_class(judge.intercept_)
    shapes = spec.shapes(x.shape[1], len(classes))
    weights = {name: uniform(name, s, fan_in=shapes[_weight(name)][1], seed=seed) for name, s in shapes.items()}
    engine = any_backend(backend)
    if not isinstance(engine, SupportsGan):
        raise BackendError(f"backend {engine.name!r} trains no GAN: give backend='torch' or 'tensorflow'")
    gan = engine.gan(weights, classifier, spec)
    rng = np.random.default_rng([seed, 1])
    members = [np.flatnonzero(places == k) for k in range(len(classes))]
    for update in each(range(spec.updates), "training the GAN", spec.updates, "updates"):
        for _ in range(spec.critic_updates):
            chosen = rng.integers(len(classes), size=spec.batch_size)
            rows = np.array([rng.choice(members[k]) for k in chosen])
            noise = rng.standard_normal((spec.batch_size, spec.noise))
            critic = gan.critic_step(x[rows], onehot[chosen], noise, rng.random((spec.batch_size, 1)))
        chosen = rng.integers(len(classes), size=spec.batch_size)
        made = gan.generator_step(rng.standard_normal((spec.batch_size, spec.noise)), onehot[chosen])
        if not math.isfinite(critic + made):
            raise NumbersError(f"the GAN's losses are not finite in update {update + 1}: choose another sampler")
        if losses is not None:
            losses.append((critic, made))
    noise = np.random.default_rng([seed, 2]).standard_normal((len(wanted), spec.noise))
    return np.asarray(gan.generate(noise, onehot[np.searchsorted(classes, wanted)]) * std + mean)


def _weight(name: str) -> str:
    return f"{name.rpartition('.')[0]}.weight"


def _per_class(learnt: np.ndarray) -> np.ndarray:
    """Rows of every class: of two classes, scikit-learn keeps those of the second alone."""
    return learnt if len(learnt) > 1 else np.concatenate([-learnt, learnt]) / 2
