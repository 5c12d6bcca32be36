"""Adapters of a network: which layers can have them, giving them, and adding them to the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from xfer.errors import CheckpointError, UsageError
from xfer.models.freezer import Freezer
from xfer.models.network import WRAPPED, Network
from xfer.specs.lora import Lora
from xfer.zoo import Card

_SHOWN = 3


def linear_weights(shapes: Mapping[str, tuple[int, ...]], card: Card) -> tuple[str, ...]:
    """The matrices (out, in) of all linear layers below the head, in forward order.

    Args:
        shapes: of all tensors of a network.
        card: its architecture.
    """
    beside = tuple(f"{branch.name}." for branch in card.auxiliary)
    return tuple(
        name
        for name, shape in shapes.items()
        if len(shape) == 2
        and name.rpartition(".")[2] in ("weight", "in_proj_weight")
        and ".cpb_mlp." not in name  # Swin v2's net of positions, which reads no image
        and not name.startswith(beside)
        and card.block_of(name) != "head"
    )


def chosen(network: Network, layers: Sequence[str]) -> tuple[str, ...]:
    """The matrices of the linear layers that blocks, globs and `re:` patterns choose; of all for no pattern.

    Raises:
        UsageError: a network without linear layers, or that xfer did not build, or a pattern that matches no linear
            layer. UnknownNameError: one that matches no layer at all.
    """
    if network.card.family == WRAPPED:
        raise UsageError(f"{network.name} was wrapped: LoRA is for the networks that xfer.load builds")
    every = linear_weights(network.shapes(), network.card)
    if not every:
        raise UsageError(f"{network.name} has no linear layer below its head: take a transformer, such as vit_b_32")
    wanted = set[str]() if layers else set(every)
    for pattern in layers:
        hits = Freezer(network).matching([pattern]) & set(every)
        if not hits:
            known = ", ".join(name.rpartition(".")[0] for name in every[:_SHOWN])
            raise UsageError(f"layers {pattern!r} of {network.name} are not linear: it has {known}, ...")
        wanted |= hits
    return tuple(name for name in every if name in wanted)


def attach(network: Network, lora: Lora) -> None:
    """Give a network adapters with undefined values, which are frozen.

    Raises:
        UsageError: it has some, its head is an estimator, or a rank beyond the size of a layer.
    """
    if network.spec.lora is not None:
        raise UsageError(f"{network.name} has adapters of rank {network.spec.lora.rank}: call merge_lora() first")
    if network.estimator is not None:
        raise UsageError(f"the head of {network.name} is a scikit-learn estimator, which has no gradient for adapters")
    shapes = network.shapes()
    for weight in lora.weights:
        if lora.rank > min(shapes[weight]):
            out, width = shapes[weight]
            raise UsageError(f"LoRA's rank={lora.rank} is more than {weight} has, which is {out} x {width}")
    network.spec = replace(network.spec, lora=lora)
    network.build_lora()


def restore(network: Network, lora: Lora, arrays: Mapping[str, np.ndarray], run: object) -> None:
    """Give a network the adapters of a run, which are trained with the head.

    Raises:
        CheckpointError: the manifest names what is no linear layer, or adapters that are not there.
    """
    shapes = network.shapes()
    if strange := set(lora.weights) - set(linear_weights(shapes, network.card)):
        raise CheckpointError(f"{run} is damaged: it has adapters of {min(strange)[:80]!r}, which is no linear layer")
    for name, shape in lora.shapes(shapes).items():
        if name not in arrays or arrays[name].shape != shape:
            found = arrays[name].shape if name in arrays else "missing"
            raise CheckpointError(f"{run} is damaged: {name} is {found}, its manifest says {shape}")
    attach(network, lora)
    network.write({name: arrays[name] for name in lora.tensors})
    head = {name for name in network.trainable if network.card.block_of(name) == "head"}
    Freezer(network).restore(head | set(lora.tensors))


def merge(network: Network) -> None:
    """Add B A to each weight, and take the adapters away; what of them was trainable is no more.

    Raises:
        UsageError: there are none.
    """
    lora = network.spec.lora
    if lora is None:
        raise UsageError(f"{network.name} has no adapters to merge: call add_lora() first")
    merged = lora.merged(network.read([*lora.weights, *lora.tensors]))
    network.spec = replace(network.spec, lora=None)
    network.build_lora()
    network.write(merged)
    network.set_trainable(network.trainable - set(lora.tensors))
