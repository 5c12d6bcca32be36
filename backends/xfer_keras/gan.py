"""The GAN on TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from xfer.features.gan import SLOPE, UPDATE, Gan, GanSpec
from xfer_keras.optimizer import Optimizer
from xfer_keras_nets.layout import Tensor


class KerasGan(Gan):
    """Weights by name, two tapes for the penalty, and torch's Adam."""

    def __init__(
        self, weights: Mapping[str, np.ndarray], classifier: tuple[np.ndarray, np.ndarray], spec: GanSpec
    ) -> None:
        self.spec = spec
        self.dtype = tf.float64 if spec.precision == "fp64" else tf.float32
        self.weights = {name: keras.Variable(array, dtype=self.dtype.name) for name, array in weights.items()}
        self._judge = tuple(map(self._tensor, classifier))
        self._rules = {part: Optimizer(UPDATE, {part: self._of(part)}, [part]) for part in ("generator", "critic")}
        self._critic = tf.function(self._critic_step)
        self._generator = tf.function(self._generator_step)

    def critic_step(self, real: np.ndarray, onehot: np.ndarray, noise: np.ndarray, mix: np.ndarray) -> float:
        return float(self._critic(*map(self._tensor, (real, onehot, noise, mix))))

    def generator_step(self, noise: np.ndarray, onehot: np.ndarray) -> float:
        return float(self._generator(*map(self._tensor, (noise, onehot))))

    def generate(self, noise: np.ndarray, onehot: np.ndarray) -> np.ndarray:
        return np.array(self._run("generator", self._tensor(noise), self._tensor(onehot)))

    def _critic_step(self, x: Any, c: Any, z: Any, share: Any) -> Any:
        made = self._run("generator", z, c)
        between = share * x + (1 - share) * made
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(between)
                total = tf.reduce_sum(self._run("critic", between, c))
            slope = inner.gradient(total, between)
            penalty = tf.reduce_mean((tf.norm(slope, axis=1) - 1) ** 2)
            judged = tf.reduce_mean(self._run("critic", made, c)) - tf.reduce_mean(self._run("critic", x, c))
            loss = judged + self.spec.penalty * penalty
        return self._update("critic", loss, outer)

    def _generator_step(self, z: Any, c: Any) -> Any:
        with tf.GradientTape() as tape:
            made = self._run("generator", z, c)
            logits = made @ tf.transpose(self._judge[0]) + self._judge[1]
            entropy = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(c, logits))
            loss = -tf.reduce_mean(self._run("critic", made, c)) + self.spec.classification * entropy
        return self._update("generator", loss, tape)

    def _run(self, part: str, x: Any, condition: Any) -> Any:
        hidden = self._linear(f"{part}.hidden", tf.concat([x, condition], 1))
        # Not tf.nn.leaky_relu, which takes its slope as a float32.
        return self._linear(f"{part}.out", tf.where(hidden > 0, hidden, SLOPE * hidden))

    def _update(self, part: str, loss: Any, tape: tf.GradientTape) -> Any:
        variables = [tensor.variable.value for tensor in self._of(part).values()]
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        rates = tf.constant([self.spec.rate], tf.float64)
        return self._rules[part].update(loss, gradients, rates, (), lambda: None)

    def _of(self, part: str) -> dict[str, Tensor]:
        return {name: Tensor(None, v, None) for name, v in self.weights.items() if name.startswith(part)}

    def _linear(self, name: str, x: Any) -> Any:
        return x @ tf.transpose(self.weights[f"{name}.weight"].value) + self.weights[f"{name}.bias"].value

    def _tensor(self, array: np.ndarray) -> Any:
        return tf.convert_to_tensor(np.asarray(array, self.dtype.as_numpy_dtype))
