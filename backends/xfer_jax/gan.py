"""The GAN on JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from xfer.features.gan import SLOPE, UPDATE, Gan, GanSpec
from xfer_jax.modes import modes
from xfer_jax.optimizer import Optimizer
from xfer_keras_nets.layout import Tensor

Weights = dict[str, Any]


class JaxGan(Gan):
    """Weights by name, a gradient of a gradient for the penalty, and torch's Adam."""

    def __init__(
        self, weights: Mapping[str, np.ndarray], classifier: tuple[np.ndarray, np.ndarray], spec: GanSpec
    ) -> None:
        self.spec = spec
        self.dtype = "float64" if spec.precision == "fp64" else "float32"
        with self._placed():
            self.weights = {name: keras.Variable(np.array(array), dtype=self.dtype) for name, array in weights.items()}
            self._judge = tuple(map(self._tensor, classifier))
            self._rules = {part: Optimizer(UPDATE, {part: self._of(part)}, [part]) for part in ("generator", "critic")}
            self._step = {
                "critic": jax.jit(self._critic_step, donate_argnums=1),
                "generator": jax.jit(self._generator_step, donate_argnums=1),
            }

    def critic_step(self, real: np.ndarray, onehot: np.ndarray, noise: np.ndarray, mix: np.ndarray) -> float:
        return self._run_step("critic", real, onehot, noise, mix)

    def generator_step(self, noise: np.ndarray, onehot: np.ndarray) -> float:
        return self._run_step("generator", noise, onehot)

    def generate(self, noise: np.ndarray, onehot: np.ndarray) -> np.ndarray:
        with self._placed():
            return np.array(self._run(self._values("generator"), "generator", *map(self._tensor, (noise, onehot))))

    def _run_step(self, part: str, *arrays: np.ndarray) -> float:
        """One update of a part, the other as it is."""
        rule, other = self._rules[part], "critic" if part == "generator" else "generator"
        with self._placed():
            old = (list(self._values(part).values()), rule.state, [])
            scalars = rule.scalars([self.spec.rate])
            loss, new = self._step[part](self._values(other), old, scalars, *map(self._tensor, arrays))
            weights, rule.state, _ = new
            for variable, value in zip(rule.variables, weights, strict=True):
                variable.assign(value)
        found = float(loss)
        if np.isfinite(found):
            rule.count([True] * len(weights))
        return found

    def _critic_step(self, other: Weights, old: Any, scalars: Any, x: Any, c: Any, z: Any, share: Any) -> Any:
        made = self._run(other, "generator", z, c)
        between = share * x + (1 - share) * made

        def loss(weights: Weights) -> Any:
            slope = jax.grad(lambda at: jnp.sum(self._run(weights, "critic", at, c)))(between)
            penalty = jnp.mean((jnp.linalg.norm(slope, axis=1) - 1) ** 2)
            judged = jnp.mean(self._run(weights, "critic", made, c)) - jnp.mean(self._run(weights, "critic", x, c))
            return judged + self.spec.penalty * penalty

        return self._update("critic", loss, old, scalars)

    def _generator_step(self, other: Weights, old: Any, scalars: Any, z: Any, c: Any) -> Any:
        def loss(weights: Weights) -> Any:
            made = self._run(weights, "generator", z, c)
            logits = made @ self._judge[0].T + self._judge[1]
            entropy = -jnp.mean(jnp.sum(c * jax.nn.log_softmax(logits), axis=1))
            return -jnp.mean(self._run(other, "critic", made, c)) + self.spec.classification * entropy

        return self._update("generator", loss, old, scalars)

    def _update(self, part: str, loss: Any, old: Any, scalars: Any) -> Any:
        names = list(self._of(part))
        found, gradients = jax.value_and_grad(lambda ws: loss(dict(zip(names, ws, strict=True))))(old[0])
        return self._rules[part].update(found, gradients, scalars, old, [])

    def _run(self, weights: Weights, part: str, x: Any, condition: Any) -> Any:
        hidden = _linear(weights, f"{part}.hidden", jnp.concatenate([x, condition], 1))
        return _linear(weights, f"{part}.out", jnp.where(hidden > 0, hidden, SLOPE * hidden))

    def _of(self, part: str) -> dict[str, Tensor]:
        return {name: Tensor(None, v, None) for name, v in self.weights.items() if name.startswith(part)}

    def _values(self, part: str) -> Weights:
        return {name: tensor.variable.value for name, tensor in self._of(part).items()}

    def _tensor(self, array: np.ndarray) -> Any:
        return jnp.array(array, self.dtype)

    def _placed(self) -> Any:
        return modes("cpu", self.dtype == "float64")


def _linear(weights: Weights, name: str, x: Any) -> Any:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
