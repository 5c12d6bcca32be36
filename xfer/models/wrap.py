"""`xfer.wrap`: a user's own network, or one of another library, behind BaseModel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.errors import UsageError, WeightsError
from xfer.models.backend import Backend, get_backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import check_heads, known_classes
from xfer.models.spec import ModelSpec
from xfer.runtime.devices import deterministic as resolve_deterministic
from xfer.specs.head import Head
from xfer.specs.precision import Precision
from xfer.specs.preprocessing import Preprocessing
from xfer.zoo import Card

PREFIX = "wrapped:"


def wrap(
    native: Any,
    *,
    backend: str | Backend,
    head: str,
    classes: Sequence[str] | int | None = None,
    new_head: Head | None = None,
    preprocessing: Preprocessing | None = None,
    image_size: int | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: Precision | None = None,
    deterministic: bool | None = None,
    seed: int = 0,
) -> BaseModel:
    """A BaseModel around a `torch.nn.Module` or a functional `keras.Model`: freezing, training, checkpoints as usual.

    The network is used, not copied. Blocks are its children (in torch those of its sequences, too), tensors keep its
    own names, and checkpoints of it are read by `wrap` on the same framework alone: only architectures of the zoo are
    portable, because only of them is it known that both frameworks compute the same.

    Args:
        native: gives logits (N, K) of normalised images: (N, 3, S, S) in torch, (N, S, S, 3) in Keras.
        backend: as in `load`.
        head: name of the classifier; its last linear layer gives the logits and is what `classes` replaces.
        classes: names or a number for a new head with seeded weights; None keeps the head.
        new_head: its shape; linear by default.
        preprocessing: what images become; by default what the network itself says (timm's `pretrained_cfg`), else
            ImageNet's normalisation. A Keras network that rescales by itself takes mean 0 and std 1 / 255.
        image_size: input size in pixels, by default the network's or 224.
        weights: a run whose model was wrapped like this one.
        device, precision, deterministic, seed: as in `load`; Keras networks keep the precision that they were built in.

    Raises:
        UsageError: not a network of that framework, or no such head. WeightsError: a run of something else.
    """
    if new_head is not None and classes is None:
        raise UsageError("new_head is given without classes: say which classes the new head tells apart")
    engine = get_backend(backend)
    found = engine.describe(native, head)
    recipe = preprocessing or found.preprocessing or Preprocessing(224, 256)
    size, on = image_size or found.image_size, engine.resolve_device(device)
    spec = ModelSpec(
        card=Card(
            name=f"{PREFIX}{found.name}",
            family="wrapped",
            blocks=found.blocks,
            head=found.head,
            feature_dim=found.feature_dim,
            preprocessing=recipe,
            weights=(),
            config={},
            parameters=found.parameters,
        ),
        head=Head(),
        classes=known_classes(found.classes),
        preprocessing=recipe.at(size) if size else recipe,
        precision=precision or found.precision,
        device=on,
        deterministic=resolve_deterministic(deterministic, on),
    )
    model = engine.wrap(native, spec)
    model.set_trainable(frozenset(model.parameters))
    if weights is not None:
        run = open_checkpoint(weights)
        if run.manifest.model != model.name:
            raise WeightsError(f"{run.path} holds a {run.manifest.model}, not a {model.name}")
        arrays = run.weights()
        check_heads(replace(model.spec, classes=run.manifest.classes, head=run.manifest.head), arrays, run)
        model.replace_head(run.manifest.classes, run.manifest.head, seed)
        model.set_weights(arrays)
        model.freezer.restore(run.manifest.trainable)
    if classes is not None:
        model.replace_head(classes, new_head, seed)
    return model
