"""Stepper on JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax
from jax.interpreters.partial_eval import dce_jaxpr

from xfer.models.network import WRAPPED
from xfer.models.stepper import Stepper
from xfer.runtime.progress import step
from xfer.specs.inputs import Inputs
from xfer.specs.update import UpdateSpec
from xfer_jax.distributed import PROCESSES, Together, rows_of_all, summed
from xfer_jax.loss import loss_of
from xfer_jax.model import COMPILING, JaxModel, filled, padded_size
from xfer_jax.optimizer import Optimizer
from xfer_keras_nets.shares import Shares, shared

State = tuple[list[Any], Any, list[Any]]
_STRIDE = np.uint32(0x85EBCA6B)  # between the seeds of processes


class _Read(NamedTuple):
    """What a pass in training reads: trained weights, statistics that it may change, all else, and its seed."""

    weights: list[Any]
    buffers: list[Any]
    still: list[Any]
    seed: Any


class JaxStepper(Stepper):
    """`jax.vjp` and torch's update rules, compiled by `jax.jit` for the tensors that are trainable.

    A step donates the weights, slots and running statistics that it changes, so they lie in memory once. It is compiled
    for each number of samples anew. Samples without a label fill a batch up to one of few numbers, unless they would
    change batch statistics, or might in a wrapped network.
    """

    model: JaxModel
    optimizer: Optimizer

    def __init__(self, model: JaxModel, update: UpdateSpec) -> None:
        super().__init__(model, update)
        self._compiled: dict[Any, Any] = {}
        self._connected: dict[Any, list[bool]] = {}  # noted while a pass is traced, as are the weights of its losses
        self._shares: dict[Any, list[float]] = {}

    def rebuild(self, blocks: Mapping[str, Sequence[str]], start: Mapping[str, np.ndarray]) -> None:
        tensors, buffers = self.model.tensors(), self.model.buffers()
        by_block = {block: {name: tensors[name] for name in names} for block, names in blocks.items()}
        self.optimizer = Optimizer(self.update, by_block, self.model.blocks, start)
        # The statistics of normalisation, and other buffers, that a training pass may change.
        self._followed = [t.variable for name, t in tensors.items() if name in buffers and t.layer.trainable]
        changed = {id(variable) for variable in (*self.optimizer.variables, *self._followed)}
        self._still = [variable for variable in self.model.variables() if id(variable) not in changed]
        self._compiled, self._connected = {}, {}

    def train_step(self, inputs: Inputs, labels: np.ndarray, rates: Mapping[str, float], seed: int) -> float:
        if inputs.shards:
            loss, gradients, buffers = self._together(inputs, labels, seed)
            return self._apply(loss, gradients, rates, self._state(), buffers)
        arrays, labels = self._filled(inputs, labels)
        key = self._key("update", inputs.after, arrays, labels)
        function = partial(self._update, key, inputs.after)
        # A pass that fails may have taken what it was given: until this kind has run once, the host has it too.
        kept = None if key in self._compiled else jax.device_get(self._state())
        try:
            with step(COMPILING, when=key not in self._compiled):
                compiled = self._jit(key, function, donated=(0,))
                scalars = self.optimizer.scalars([rates[block] for block in self.model.blocks])
                loss, state = compiled(self._state(), self._values(), np.uint32(seed), scalars, labels, *arrays)
                self._assign(state)
        except Exception:
            if kept is not None:
                self._compiled.pop(key, None)
                self._assign(jax.tree.map(jnp.array, kept))
            raise
        found = float(loss)
        if np.isfinite(found):
            self.optimizer.count(self._connected[key])
        return found

    def compute_gradients(self, inputs: Inputs, labels: np.ndarray, seed: int) -> list[Any]:
        if inputs.shards:
            return list(self._together(inputs, labels, seed)[1])
        arrays, labels = self._filled(inputs, labels)
        key = self._key("gradients", inputs.after, arrays, labels)
        return list(self._run(key, partial(self._gradients_of_loss, key, inputs.after), arrays, seed, labels))

    def forward(self, inputs: Inputs, seed: int) -> list[tuple[float, Any]]:
        arrays = self.model.arrays(inputs)
        key = self._key("forward", inputs.after, arrays)
        logits = self._run(key, partial(self._logits, key, inputs.after), arrays, seed)
        return list(zip(self._shares[key], logits, strict=True))

    def loss_gradients(self, outputs: Sequence[Any], labels: np.ndarray) -> tuple[Any, list[list[Any]]]:
        sizes = np.cumsum([len(each[0][1]) for each in outputs])[:-1]
        weights = [weight for weight, _ in outputs[0]]
        logits = [jnp.concatenate([z for _, z in parts]) for parts in zip(*outputs, strict=True)]
        found = jax.value_and_grad(lambda zs: self._loss(list(zip(weights, zs, strict=True)), labels))
        loss, gradients = found(logits)
        parts = [jnp.split(gradient, sizes) for gradient in gradients]
        return loss, [list(each) for each in zip(*parts, strict=True)]

    def backward(self, inputs: Inputs, seed: int, at_outputs: Sequence[Any], total: list[Any] | None) -> list[Any]:
        arrays = self.model.arrays(inputs)
        key = self._key("backward", inputs.after, arrays)
        function = partial(self._gradients_from, key, inputs.after)
        gradients = list(self._run(key, function, arrays, seed, list(at_outputs)))
        if total is None:
            return gradients
        return [None if a is None or b is None else a + b for a, b in zip(total, gradients, strict=True)]

    def apply_gradients(
        self, loss: Any, gradients: list[Any], rates: Mapping[str, float], statistics: Mapping[str, Any]
    ) -> float:
        tensors = self.model.tensors()
        before = {id(tensors[name].variable): tensors[name].to_keras(array) for name, array in statistics.items()}
        weights, slots, buffers = self._state()
        old = (weights, slots, [jnp.array(before[id(variable)]) for variable in self._followed])
        return self._apply(loss, gradients, rates, old, buffers)

    def read_gradients(self, gradients: list[Any]) -> dict[str, np.ndarray]:
        tensors = self.optimizer.tensors.items()
        return {
            name: np.zeros(tensor.shape, self.model.dtype)
            if gradient is None
            else tensor.from_keras(np.asarray(gradient))
            for (name, tensor), gradient in zip(tensors, gradients, strict=True)
        }

    def _apply(self, loss: Any, gradients: list[Any], rates: Mapping[str, float], old: State, buffers: Any) -> float:
        """Update what a pass has not: weights and slots, and the running statistics, which `buffers` are after it."""
        scalars = self.optimizer.scalars([rates[block] for block in self.model.blocks])
        compiled = self._jit("apply", self.optimizer.update, donated=(3,))
        loss, state = compiled(loss, gradients, scalars, old, buffers)
        self._assign(state)
        found = float(loss)
        if np.isfinite(found):
            self.optimizer.count([gradient is not None for gradient in gradients])
        return found

    def _together(self, inputs: Inputs, labels: np.ndarray, seed: int) -> tuple[Any, list[Any], list[Any]]:
        """The loss of the whole batch, in every process, its gradients, summed over them, and statistics after it.

        Each process fills its share up to one size, with samples that have no label and do not count in statistics.
        """
        size = padded_size(max(inputs.shards))
        arrays = [filled(array, size) for array in self.model.arrays(inputs.padded())]
        parts = np.split(labels, np.cumsum(inputs.shards)[:-1])
        labels = np.concatenate([_with_missing(part, size) for part in parts])
        key = self._key("together", inputs.after, arrays, labels)
        with step(COMPILING, when=key not in self._compiled):
            if key not in self._compiled:
                function = partial(self._of_shares, key, inputs.after)
                self._compiled[key] = Together(function, self.model.jit, self.model.spec.device)
            weights, _, buffers = self._state()
            read = _Read(weights, buffers, self._values(), np.uint32(seed))
            found: tuple[Any, list[Any], list[Any]] = self._compiled[key](
                (read, labels, np.array(inputs.shards, np.int32)), arrays
            )
            return found

    def _filled(self, inputs: Inputs, labels: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """What the device is given of a batch; see the class."""
        arrays, number = self.model.arrays(inputs), len(inputs)
        size = number if self._followed or self.model.card.family == WRAPPED else padded_size(number)
        return [filled(array, size) for array in arrays], _with_missing(labels, size)

    def _key(self, name: str, after: str | None, arrays: Sequence[Any], labels: Any = None) -> tuple[Any, ...]:
        """What a compiled function depends on."""
        return name, after, len(arrays[0]), None if labels is None else labels.ndim, self.model.spec.precision

    def _jit(self, key: Any, function: Any, donated: tuple[int, ...] = ()) -> Any:
        if key not in self._compiled:
            self._compiled[key] = self.model.jit(function, donated)
        return self._compiled[key]

    def _run(self, key: Any, function: Any, arrays: Sequence[Any], seed: int, *more: Any) -> Any:
        """Run a function on a batch; the statistics that it returns behind its result are taken over."""
        with step(COMPILING, when=key not in self._compiled):
            weights, _, buffers = self._state()
            read = _Read(weights, buffers, self._values(), np.uint32(seed))
            found, new = self._jit(key, function)(read, *more, *arrays)
            for variable, value in zip(self._followed, new, strict=True):
                variable.assign(value)
        return found

    def _state(self) -> State:
        """What a step changes: weights, slots and running statistics."""
        weights = [variable.value for variable in self.optimizer.variables]
        return weights, self.optimizer.state, [variable.value for variable in self._followed]

    def _values(self) -> list[Any]:
        return [variable.value for variable in self._still]

    def _assign(self, state: State) -> None:
        weights, self.optimizer.state, buffers = state
        for variable, value in zip([*self.optimizer.variables, *self._followed], [*weights, *buffers], strict=True):
            variable.assign(value)

    # Traced: state and tensors in, results and new state out.

    def _update(
        self, key: Any, after: str | None, state: State, still: Any, seed: Any, scalars: Any, labels: Any, *inputs: Any
    ) -> tuple[Any, State]:
        read = _Read(state[0], state[2], still, seed)
        loss, gradients, new = self._loss_and_gradients(key, after, read, labels, *inputs)
        return self.optimizer.update(loss, gradients, scalars, state, new)

    def _gradients_of_loss(
        self, key: Any, after: str | None, read: _Read, labels: Any, *inputs: Any
    ) -> tuple[list[Any], list[Any]]:
        return self._loss_and_gradients(key, after, read, labels, *inputs)[1:]

    def _of_shares(
        self, key: Any, after: str | None, alike: tuple[_Read, Any, Any], inputs: list[Any]
    ) -> tuple[Any, list[Any], list[Any]]:
        read, labels, shards = alike
        rank = lax.axis_index(PROCESSES)
        read = read._replace(seed=read.seed + rank.astype(jnp.uint32) * _STRIDE)
        with shared(Shares(shards, rank, partial(lax.all_gather, axis_name=PROCESSES))):
            loss, gradients, new = self._loss_and_gradients(key, after, read, labels, *inputs, rows=rows_of_all)
        return loss, summed(gradients), new

    def _loss_and_gradients(
        self, key: Any, after: str | None, read: _Read, labels: Any, *inputs: Any, rows: Any = None
    ) -> tuple[Any, list[Any], list[Any]]:
        def loss_of_weights(weights: list[Any]) -> tuple[Any, list[Any]]:
            outputs, new = self._forward(after, read._replace(weights=weights), *inputs)
            if rows is not None:
                outputs = [(weight, rows(logits)) for weight, logits in outputs]
            return self._loss(outputs, labels), new

        (loss, new), gradients = jax.value_and_grad(loss_of_weights, has_aux=True)(read.weights)
        return loss, self._where_connected(key, loss_of_weights, read.weights, gradients), new

    def _logits(self, key: Any, after: str | None, read: _Read, *inputs: Any) -> tuple[list[Any], list[Any]]:
        outputs, new = self._forward(after, read, *inputs)
        self._shares[key] = [share for share, _ in outputs]
        return [logits for _, logits in outputs], new

    def _gradients_from(
        self, key: Any, after: str | None, read: _Read, to_logits: Any, *inputs: Any
    ) -> tuple[list[Any], list[Any]]:
        def logits(weights: list[Any]) -> tuple[list[Any], list[Any]]:
            outputs, new = self._forward(after, read._replace(weights=weights), *inputs)
            return [logits for _, logits in outputs], new

        _, pull, new = jax.vjp(logits, read.weights, has_aux=True)
        return self._where_connected(key, logits, read.weights, pull(to_logits)[0]), new

    def _where_connected(self, key: Any, function: Any, weights: list[Any], gradients: Sequence[Any]) -> list[Any]:
        """None in place of zeros for a weight of a wrapped network that has no gradient; in the zoo each has one."""
        wrapped = self.model.card.family == WRAPPED
        found = _connected(lambda weights: function(weights)[0], weights) if wrapped else [True] * len(weights)
        self._connected[key] = found
        return [gradient if connected else None for gradient, connected in zip(gradients, found, strict=True)]

    def _forward(
        self, after: str | None, read: _Read, values: Any, *columns: Any
    ) -> tuple[list[tuple[float, Any]], list[Any]]:
        """Outputs as training sees them, and the statistics after it."""
        given = [*zip(self.optimizer.variables, read.weights, strict=True)]
        given += [*zip(self._followed, read.buffers, strict=True), *zip(self._still, read.still, strict=True)]
        given += [(state, jnp.stack([read.seed, jnp.uint32(i)])) for i, state in enumerate(self.model.seeds())]
        with keras.StatelessScope(given) as scope:
            outputs = self.model.forward(Inputs(values, after, *columns))
            new = [scope.get_current_value(variable) for variable in self._followed]
        return outputs, new

    def _loss(self, outputs: Sequence[tuple[float, Any]], labels: Any) -> Any:
        terms = [weight * loss_of(self.update.loss, logits, jnp.asarray(labels)) for weight, logits in outputs]
        return sum(terms[1:], terms[0])


def _with_missing(labels: np.ndarray, size: int) -> np.ndarray:
    """Labels of so many samples, of which the last have none."""
    missing = -1 if labels.ndim == 1 else np.nan
    return np.concatenate([labels, np.full((size - len(labels), *labels.shape[1:]), missing, labels.dtype)])


def _connected(function: Any, weights: list[Any]) -> list[bool]:
    """Whether the results depend on each weight in a way that has a gradient: JAX gives zeros to the others."""
    traced = jax.make_jaxpr(lambda changes: jax.jvp(function, (weights,), (changes,))[1])(weights).jaxpr
    used: list[bool] = dce_jaxpr(traced, [True] * len(traced.outvars))[1]
    return used
