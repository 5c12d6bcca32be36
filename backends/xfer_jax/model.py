"""BaseModel on Keras and JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from xfer.models.engine import Engine
from xfer.models.spec import ModelSpec
from xfer.runtime.progress import step
from xfer.specs.inputs import Inputs
from xfer_jax.modes import modes
from xfer_keras_nets.network import KerasNetwork, joined

COMPILING = "compiling the network"
OPTIONS = {"xla_gpu_deterministic_ops": True}  # of XLA where the same pass shall give the same bits


class JaxModel(KerasNetwork):
    """A Keras model whose passes `jax.jit` compiles, for each number of samples anew."""

    def __init__(self, backend: Engine, spec: ModelSpec) -> None:
        super().__init__(backend, spec)
        recipe = spec.preprocessing
        white, mean, std = (np.asarray(numbers, self.dtype) for numbers in (255, recipe.mean, recipe.std))
        normalised = (np.arange(256, dtype=self.dtype)[:, None] / white - mean) / std
        with self.placed():
            self._normalised = keras.Variable(normalised, dtype=self.dtype, trainable=False)
        self._constants.append(self._normalised)
        self.compiled = {"inference": True, "training": True}  # there is no other way on JAX

    def placed(self) -> AbstractContextManager[object]:
        return modes(self.spec.device, self.dtype == "float64")

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        with self.placed():
            return super().read(names)

    def build(self) -> None:
        with self._undrawn():
            super().build()

    def build_head(self) -> None:
        with self._undrawn():
            super().build_head()

    def build_lora(self) -> None:
        with self._undrawn():
            super().build_lora()

    @contextmanager
    def _undrawn(self) -> Iterator[None]:
        """New variables are zeros: drawing weights, which are set afterwards, would be compiled for every shape."""
        with self.placed(), keras.StatelessScope():  # at its end, Keras initializes what was made in it
            yield
            for variable in (*self.variables(), *self.seeds()):
                if variable._value is None:
                    variable._initializer = _zeros

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        with self.placed():
            # Copies: a step donates the buffers of what it changes, and NumPy's arrays are not JAX's to give away.
            super().write({name: np.array(array) for name, array in arrays.items()})

    def variables(self) -> list[Any]:
        """Everything that a pass reads, but the random generators."""
        layers = (layer for found in self._layers.values() for layer in found)
        found = {id(v): v for v in [*self._constants, *(v for layer in layers for v in layer.variables)]}
        random = {id(state) for state in self.seeds()}
        return [variable for variable in found.values() if id(variable) not in random]

    def jit(self, function: Callable[..., Any], donated: tuple[int, ...] = ()) -> Any:
        """`jax.jit`, deterministic where the model is."""
        options = OPTIONS if self.spec.deterministic and self.spec.device != "cpu" else None
        return jax.jit(function, donate_argnums=donated, compiler_options=options)

    def call(self, function: Any, key: Any, inputs: Inputs, *first: np.ndarray) -> list[np.ndarray]:
        arrays, number = [*first, *self.arrays(inputs.padded())], max(len(inputs), 1)
        size, variables = padded_size(number), self.variables()
        new = (key, size) not in self._compiled
        if new:
            self._compiled[key, size] = self.jit(partial(_with_values, function, variables))
        with self.placed(), step(COMPILING, when=new):
            values = [variable.value for variable in variables]
            found = self._compiled[key, size](values, *(filled(array, size) for array in arrays))
            return [np.array(array)[:number] for array in found]

    def normalise(self, images: Any) -> Any:
        """By a table (256, 3): XLA makes a division by what is broadcast a product, which rounds otherwise."""
        return self._normalised.value.at[images, jnp.arange(3)].get(mode="promise_in_bounds")

    def _gradient(self, after: str | None, block: str, at_logits: Any, values: Any, columns: Any = None) -> list[Any]:
        x: Any = self.enter(Inputs(values, after))
        steps = list(self.steps(after).items())
        at = next(i for i, (name, _) in enumerate(steps) if name == block) + 1
        for _, stage in steps[:at]:
            x = stage(x, training=False)

        def tail(x: Any) -> Any:
            for name, stage in steps[at:]:
                x = stage(joined(x, columns) if name == "head" else x, training=False)
            return x

        logits, pull = jax.vjp(tail, x)
        (gradient,) = pull(at_logits.astype(logits.dtype))
        return [x.astype(self.dtype), gradient.astype(self.dtype)]


def padded_size(number: int) -> int:
    """The number of samples that a pass of so many runs with: a power of 2 up to 32, then a multiple of 16.

    Each number is compiled once, and what a number becomes does not depend on those before: the bits of a result would.
    """
    return 1 << (number - 1).bit_length() if number <= 32 else -(-number // 16) * 16


def filled(array: np.ndarray, size: int) -> np.ndarray:
    """The first sample of an array (N, ...) again behind the others: what is finite stays so."""
    return array if len(array) == size else np.concatenate([array, np.repeat(array[:1], size - len(array), axis=0)])


def _zeros(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.zeros(shape, dtype)


def _with_values(function: Any, variables: list[Any], values: list[jnp.ndarray], *arrays: Any) -> Any:
    """The function, with values of the variables that it reads."""
    with keras.StatelessScope(zip(variables, values, strict=True)):
        return function(*arrays)
