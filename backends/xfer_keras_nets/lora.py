"""LoRA adapters of Keras's linear layers (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras import layers, ops

from xfer.specs.lora import ADAPTERS, Lora
from xfer_keras_nets.attention import InProjection, KeylessBias


class _Adapted(layers.Layer):
    """W x + b + scale B A x, beside a layer that computes W x + b; A and B lie as in torch."""

    def call(self, inputs: Any, *arguments: Any, **options: Any) -> Any:
        """(..., in) to (..., out)."""
        narrow = ops.matmul(inputs, ops.transpose(self.lora_A))
        return super().call(inputs, *arguments, **options) + self.scale * ops.matmul(narrow, ops.transpose(self.lora_B))


class LoraDense(_Adapted, layers.Dense):
    """A linear layer."""


class LoraKeylessBias(_Adapted, KeylessBias):
    """Queries, keys and values of Swin v2."""


class LoraInProjection(_Adapted, InProjection):
    """Queries, keys and values of torch.nn.MultiheadAttention, which have one adapter, that of their joined matrix."""


_ADAPTED: dict[type, type] = {
    layers.Dense: LoraDense,
    KeylessBias: LoraKeylessBias,
    InProjection: LoraInProjection,
}


def attach(owners: Iterable[tuple[Any, tuple[int, ...]]], lora: Lora) -> None:
    """Give layers adapters of zeros; they stay the same objects, of another class.

    Args:
        owners: layers with the shapes (out, in) of their weights.
        lora: the adapters.
    """
    for layer, (out, width) in owners:
        layer._tracker.unlock()  # as Keras's own `enable_lora` does
        for name, shape in zip(ADAPTERS, ((lora.rank, width), (out, lora.rank)), strict=True):
            setattr(layer, name, layer.add_weight(name=name, shape=shape, initializer="zeros"))
        layer.scale = lora.scale
        layer._tracker.lock()
        layer.__class__ = _ADAPTED[type(layer)]


def detach(net_layers: Iterable[Any]) -> None:
    """Take all adapters away."""
    plain = {adapted: kind for kind, adapted in _ADAPTED.items()}
    for layer in net_layers:
        if type(layer) in plain:
            layer.__class__ = plain[type(layer)]
            for name in ADAPTERS:
                layer._untrack_variable(getattr(layer, name))
            layer._tracker.unlock()
            for name in (*ADAPTERS, "scale"):
                delattr(layer, name)
            layer._tracker.lock()
