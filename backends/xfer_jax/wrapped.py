"""A user's Keras model on JAX."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from xfer.errors import UsageError
from xfer_jax.model import JaxModel
from xfer_keras_nets.network import joined
from xfer_keras_nets.wrapped import WrappedNetwork


class WrappedModel(WrappedNetwork, JaxModel):
    """A functional Keras model whose passes `jax.jit` compiles."""

    def _gradient(self, after: str | None, block: str, at_logits: Any, values: Any, columns: Any = None) -> list[Any]:
        model, connected = self._model((block, "features")), []

        def logits_of(change: Any) -> tuple[Any, Any]:
            with _added(self._outputs[block], change):
                found = model(self.normalise(values), training=False)
            logits = self.stages["head"](joined(found["features"], columns), training=False)
            return _noting(connected)(logits), found[block]

        shape = jax.eval_shape(lambda: model(self.normalise(values), training=False)[block])
        logits, pull, at = jax.vjp(logits_of, jnp.zeros(shape.shape, shape.dtype), has_aux=True)
        if not connected:
            raise UsageError(f"the logits of {self.name} have no gradient at block {block!r}: name another block")
        (gradient,) = pull(at_logits.astype(logits.dtype))
        return [at.astype(self.dtype), gradient.astype(self.dtype)]


@contextmanager
def _added(output: Any, change: Any) -> Iterator[None]:
    """A tensor of a functional model with something added to it."""
    layer = output._keras_history.operation
    before = vars(layer).get("call")
    plain = layer.call
    vars(layer)["call"] = lambda *inputs, **options: plain(*inputs, **options) + change
    try:
        yield
    finally:
        vars(layer).pop("call")
        if before is not None:
            vars(layer)["call"] = before


def _noting(connected: list[bool]) -> Any:
    """The identity; traced for a derivative, it notes that its input depends on what is differentiated."""

    @jax.custom_jvp
    def identity(x: Any) -> Any:
        return x

    def rule(primals: Any, tangents: Any) -> Any:
        (x,), (tangent,) = primals, tangents
        if isinstance(tangent, SymbolicZero):
            return x, jnp.zeros(tangent.shape, tangent.dtype)
        connected.append(True)
        return x, tangent

    identity.defjvp(rule, symbolic_zeros=True)
    return identity
