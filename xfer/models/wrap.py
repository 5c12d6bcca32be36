"""`xfer.wrap`: a user's own network, or one of another library, behind BaseModel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfer.checkpoints.checkpoint import Checkpoint, is_checkpoint, open_checkpoint
from xfer.checkpoints.rotation import latest_checkpoint
from xfer.errors import UsageError, WeightsError
from xfer.models.backend import Backend, get_backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import check_heads
from xfer.models.network import WRAPPED
from xfer.models.pretrained import known_classes
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
    own names (those that Keras has numbered are counted anew), and checkpoints of it are read by `wrap` on the same
    framework alone: only architectures of the zoo are portable, because only of them is it known that both frameworks
    compute the same. All persistent state is trained or frozen, saved and verified: parameters, and buffers that
    training may change. What the network does after its head is left out.

    Args:
        native: gives logits (N, K) of normalised images: (N, 3, S, S) in torch, (N, S, S, 3) in Keras.
        backend: as in `load`.
        head: name of the classifier; its last linear layer gives the logits and is what `classes` replaces.
        classes: names or a number for a new head with seeded weights; None keeps the head.
        new_head: its shape; linear by default.
        preprocessing: what images become; by default what the network itself says (timm's `pretrained_cfg`), else
            ImageNet's normalisation. A Keras network that rescales by itself takes mean 0 and std 1 / 255.
        image_size: input size in pixels, by default the network's or 224.
        weights: a run whose model was wrapped like this one, finished or not.
        device, precision, deterministic, seed: as in `load`; Keras networks keep the precision that they were built in.

    Raises:
        UsageError: not a network of that framework, no such head, a network that takes no RGB images of that size, that
            has several outputs, or whose output is not that of the head that is to be kept, nor its softmax.
        WeightsError: a run of something else. CheckpointError: a damaged one.
    """
    if new_head is not None and classes is None:
        raise UsageError("new_head is given without classes: say which classes the new head tells apart")
    engine = get_backend(backend)
    found = engine.describe(native, head, image_size or (preprocessing.size if preprocessing else None))
    if image_size not in (None, found.image_size or image_size):
        raise UsageError(
            f"{found.name} takes images of {found.image_size} pixels, not {image_size}: leave image_size out"
        )
    run = None if weights is None else newest(weights)
    if classes is None and run is None and not found.ends_with_head:
        raise UsageError(
            f"the output of {found.name} is not that of its head {head!r}, nor its softmax: return it, or give classes "
            "for a new head, whose output is taken as it is"
        )
    recipe = preprocessing or (run and run.manifest.preprocessing) or found.preprocessing or Preprocessing(224, 256)
    size, on = image_size or found.image_size, engine.resolve_device(device)
    spec = ModelSpec(
        card=Card(
            name=f"{PREFIX}{found.name}",
            family=WRAPPED,
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
    model.set_trainable(frozenset(model.freezable))
    if run is not None:
        restore(model, run)
    if classes is not None:
        model.replace_head(classes, new_head, seed)
    return model


def restore(model: BaseModel, run: Checkpoint) -> None:
    """Give a wrapped network the weights, the head and all else that a run has of it.

    Raises:
        WeightsError: a run of something else, or with other preprocessing. CheckpointError: a damaged one.
    """
    manifest, arrays = run.manifest, run.weights()
    if manifest.model != model.name:
        raise WeightsError(f"{run.path} holds a {manifest.model}, not a {model.name}")
    if manifest.preprocessing != model.spec.preprocessing:
        raise WeightsError(f"{run.path} was trained with other preprocessing: wrap the network with weights={run.path}")
    tasks, columns = manifest.tasks, run.columns() or manifest.columns
    spec = replace(model.spec, classes=manifest.classes, head=manifest.head, tasks=tasks, columns=manifest.columns)
    check_heads(spec, arrays, run)
    model.replace_head(tasks or manifest.classes, manifest.head, columns=columns)
    # xfer 0.1 stored parameters and running statistics alone.
    expected = [n for n in model.shapes() if n not in model.buffers() or not manifest.xfer.startswith("0.1.")]
    if missing := [name for name in expected if name not in arrays]:
        raise WeightsError(f"{run.path} has no tensor {missing[0]!r}: it is of another {model.name}")
    model.set_weights(arrays)
    model.freezer.restore(name for name in manifest.trainable if name in model.shapes())
    model.decision, model.estimator, model.source = manifest.decision, run.estimator(), run.source


def newest(run: str | Path) -> Checkpoint:
    """A run; while it is under way, its newest checkpoint that is whole."""
    under_way = None if is_checkpoint(run) else latest_checkpoint(run)
    return under_way or open_checkpoint(run)
