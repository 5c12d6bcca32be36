"""Grad-CAM: Selvaraju et al. 2017, "Visual Explanations from Deep Networks" (arXiv:1610.02391)."""

from __future__ import annotations

import math

import numpy as np

from xfer.errors import UsageError
from xfer.models.base_model import BaseModel
from xfer.specs.inputs import Inputs


def grad_cam(activations: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Equations 1 and 2 of the paper: the ReLU of the channels' sum, each weighted with its mean gradient.

    Args:
        activations: of a block, float (N, h, w, C).
        gradient: of the target's logit with respect to them, float (N, h, w, C).

    Returns:
        (N, h, w), 0 or more, in the precision of the activations.
    """
    weights = gradient.mean(axis=(1, 2))
    return np.asarray(np.maximum(np.einsum("nhwc,nc->nhw", activations, weights), 0))


def as_map(model: BaseModel, block: str, outputs: np.ndarray) -> np.ndarray | None:
    """Outputs of a block as (N, h, w, C), without class and register tokens; None where they are no map.

    A map has more than one place, and as many in a row as in a column, for the images are square.
    """
    if model.card.token_block and outputs.ndim == 3:
        patches = outputs[:, model.card.prefix_tokens :]
        side = math.isqrt(patches.shape[1])
        if side * side == patches.shape[1]:
            outputs = patches.reshape(len(outputs), side, side, -1)
    is_map = outputs.ndim == 4 and outputs.shape[1] == outputs.shape[2] > 1
    return outputs if is_map else None


def default_block(model: BaseModel, inputs: Inputs) -> str:
    """The last block whose output is a map; of a vision transformer, `Card.token_block`.

    Args:
        model: the model.
        inputs: one image.

    Raises:
        UsageError: no block of the network gives a map.
    """
    if model.card.token_block:
        return model.card.token_block
    for block in reversed(model.blocks[:-1]):
        try:
            if as_map(model, block, model.outputs(inputs, [block])[block]) is not None:
                return block
        except UsageError:  # a block of a wrapped network that gives several tensors, or is not run
            continue
    size = model.spec.preprocessing.size
    raise UsageError(
        f"no block of {model.name} gives a square map (N, h, w, C) of an image of {size} pixels, which Grad-CAM "
        "reads: give method='occlusion'"
    )


def check_head(model: BaseModel) -> None:
    """Refuse a head without a gradient, before any image is read.

    Raises:
        UsageError: the head is an estimator.
    """
    if model.estimator is not None:
        raise UsageError(
            f"the head of {model.name} is a scikit-learn estimator, which has no gradient: give method='occlusion'"
        )


def check_block(model: BaseModel, block: str) -> None:
    """Refuse a block whose places have no gradient, before any image is read.

    Raises:
        UsageError: it is behind the last of which the logits depend on the tokens of the patches.
    """
    last = model.card.token_block
    if last and block in model.blocks and model.blocks.index(block) > model.blocks.index(last):
        raise UsageError(
            f"behind {last!r} the places of {block!r} matter no more, or all alike, to the head of {model.name}: give "
            f"block={last!r} or one before it"
        )


def explain_batch(model: BaseModel, inputs: Inputs, block: str, at_logits: np.ndarray) -> np.ndarray:
    """Maps (N, h, w) of a batch; see `grad_cam`.

    Raises:
        UsageError: the block gives no map.
    """
    activations, gradient = (
        as_map(model, block, array) for array in model.activation_gradient(inputs, block, at_logits)
    )
    if activations is None or gradient is None:
        shape = ", ".join(map(str, model.outputs(inputs.take(np.arange(1)), [block])[block].shape[1:]))
        raise UsageError(
            f"block {block!r} of {model.name} gives (N, {shape}), no square map (N, h, w, C) of several places: name "
            "an earlier block"
        )
    return grad_cam(activations, gradient)
