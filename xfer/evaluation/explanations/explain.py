"""`model.explain`: which parts of each image an output depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from xfer.data.batch import Batch
from xfer.errors import NumbersError, UnknownNameError, UnreadableError, UsageError, check_name
from xfer.evaluation.explanations import gradcam, maps, occlusion
from xfer.evaluation.explanations.targets import PREDICTED, at_logits, chosen, targets_of
from xfer.models.base_model import BaseModel
from xfer.models.finite import check_predictions, which_samples
from xfer.models.predictions import OnUnreadable, SplitPredictions
from xfer.models.predictor import split_of
from xfer.specs.decision import softmax
from xfer.specs.tasks import split_outputs

Method = Literal["grad-cam", "occlusion"]


@dataclass(frozen=True, eq=False)
class Explanations:
    """Maps of the places of each image that an output depends on, in the order of the images.

    An image that cannot be read has maps of NaN, a black image and the target -1.

    Args:
        maps: float32 (N, S, S), float64 in precision "fp64", S the network's image size: 0 to 1 for each image, 0
            where nothing speaks for the target. Grad-CAM: `raw` divided by its largest number, then resized, bilinear.
            Occlusion: the mean fall over the patches that cover a pixel, rises as 0, divided by the largest.
        raw: (N, h, w) of the same type. Grad-CAM: the map after the ReLU, of the size of the block's output.
            Occlusion: how far the target's probability falls, signed, a number for each patch; of a regression, how
            far the number falls.
        images: uint8 (N, S, S, 3), what the network was given, resized and cropped; the maps lie on them.
        targets: int64 (N,), the output that is explained, an index of `classes`.
        classes: names of the model's outputs.
        names: of the images.
        predictions: of the model for the images.
        method: "grad-cam" or "occlusion".
        block: whose output Grad-CAM has read; None for occlusion.
    """

    maps: np.ndarray
    raw: np.ndarray
    images: np.ndarray
    targets: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    predictions: SplitPredictions
    method: Method
    block: str | None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def target_names(self) -> tuple[str | None, ...]:
        """Names of the targets; None for an image that cannot be read."""
        return tuple(self.classes[k] if k != PREDICTED else None for k in self.targets.tolist())


def explain(
    model: BaseModel,
    images: Any,
    target: Any = None,
    method: Method = "grad-cam",
    block: str | None = None,
    *,
    columns: Any = None,
    batch_size: int = 32,
    on_bad: OnUnreadable = "raise",
    patch: int | None = None,
    stride: int | None = None,
    fill: Any = None,
) -> Explanations:
    """Maps of the places of each image that an output depends on.

    The model stays as it is: its weights, its modes, its freeze plan.

    Args:
        model: the model.
        images: what `predict` takes.
        target: the output to explain: a class name or index; of a model with several tasks `(task, class)`, where the
            class is a class, a label or the name of a number; or a list with one for each image. None explains the
            class that `predict` names, after thresholds.
        method: "grad-cam" (Selvaraju et al. 2017, arXiv:1610.02391): the gradient of the target's logit, for a
            regression of its number, at the output of a block; one backward pass. "occlusion" (Zeiler & Fergus 2014,
            arXiv:1311.2901): how far the target's probability falls when a patch is hidden; a forward pass a patch.
        block: of Grad-CAM. None: the last block whose output is a map; of a vision transformer the last layer of whose
            output the logits read the patches: the last but one if the head reads the class token alone, else the last.
        columns: rows of cells of a table, one for each image, where the model reads columns. They are not occluded.
        batch_size: images of a forward pass.
        on_bad: "report" gives an image that cannot be read maps of NaN, with a line on stderr.
        patch: of occlusion: side in pixels; by default a seventh of the image.
        stride: of occlusion: pixels from a patch to the next; by default half of the patch.
        fill: of occlusion: a level from 0 to 255, or three for red, green and blue; by default the mean colour of the
            preprocessing, which is 0 for the network.

    Raises:
        UsageError: a target or block that is not there, a block or head that Grad-CAM cannot read, or an option of the
            other method. UnreadableError: an image that cannot be read, after all others were: `answers` has theirs.
        NumbersError: logits or a map that are not finite.
    """
    check_name("method", method, get_args(Method))
    check_name("on_bad", on_bad, get_args(OnUnreadable))
    _check_options(model, method, block, patch=patch, stride=stride, fill=fill)
    split = split_of(images, columns, model.column_names)
    if split.after is not None:
        raise UsageError(f"the data is outputs of {split.after!r}, not pictures: explain pictures")
    targets = targets_of(model, target, len(split))
    patches = occlusion.occlusion(model, patch, stride, fill) if method == "occlusion" else None
    parts: list[_Part] = []
    loader = model.loader(split, batch_size)
    for batch in loader.epoch(0, allow_nothing=True):
        with model.exclusively():
            if patches is None and block is None:
                block = gradcam.default_block(model, batch.inputs.take(np.arange(1)))
            parts.append(_explain(model, batch, targets[batch.indices], block, patches, batch_size, split.names))
    found = _whole(model, parts, tuple(split.names), dict(sorted(loader.unreadable.items())), method, block)
    if found.predictions.unreadable and on_bad == "raise":
        raise UnreadableError({split.names[i]: why for i, why in found.predictions.unreadable.items()}, found)
    found.predictions.of_all(split.names, on_bad)
    return found


@dataclass(frozen=True, eq=False)
class _Part:
    """A batch: see `Explanations`."""

    indices: np.ndarray
    images: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    raw: np.ndarray
    maps: np.ndarray


def _explain(
    model: BaseModel,
    batch: Batch,
    targets: np.ndarray,
    block: str | None,
    patches: occlusion.Occlusion | None,
    batch_size: int,
    names: Sequence[str],
) -> _Part:
    logits = model.logits(batch.inputs)
    mine = [names[i] for i in batch.indices.tolist()]
    check_predictions(model, logits, mine)
    targets = chosen(model, targets, logits)
    if patches is not None:
        raw = occlusion.explain_batch(model, batch.inputs, patches, targets, logits, batch_size)
        full = maps.scaled(patches.spread(raw))
    else:
        assert block is not None
        raw = gradcam.explain_batch(model, batch.inputs, block, at_logits(model, targets))
        full = maps.resized(maps.scaled(raw), model.spec.preprocessing.size)
    if bad := [name for name, each in zip(mine, raw, strict=True) if not np.isfinite(each).all()]:
        raise NumbersError(f"maps of {model.name} are not finite {which_samples(bad, len(mine))}; check these samples")
    return _Part(batch.indices, batch.images, targets, logits, raw, full)


def _whole(
    model: BaseModel,
    parts: Sequence[_Part],
    names: tuple[str, ...],
    unreadable: dict[int, str],
    method: Method,
    block: str | None,
) -> Explanations:
    """All batches in the order of the images."""
    number, size = len(names), model.spec.preprocessing.size
    kind = np.float64 if model.spec.precision == "fp64" else np.float32
    shape = parts[0].raw.shape[1:] if parts else (0, 0)
    maps, raw = np.full((number, size, size), np.nan, kind), np.full((number, *shape), np.nan, kind)
    images, targets = np.zeros((number, size, size, 3), np.uint8), np.full(number, PREDICTED, np.int64)
    logits = np.full((number, len(model.classes)), np.nan, kind)
    for part in parts:
        for whole, each in ((maps, part.maps), (raw, part.raw), (images, part.images), (targets, part.targets)):
            whole[part.indices] = each
        logits[part.indices] = part.logits
    if model.tasks:
        outputs: Any = split_outputs(model.tasks, logits)
    else:
        outputs = softmax(model.decision.scaled(logits)).astype(np.float32)
    predictions = SplitPredictions(outputs, unreadable)
    return Explanations(maps, raw, images, targets, model.classes, names, predictions, method, block)


def _check_options(model: BaseModel, method: Method, block: str | None, **patches: Any) -> None:
    """Refuse options of the other method, and a block that is not there or cannot be read."""
    if method == "occlusion":
        if block is not None:
            raise UsageError(f"block={block!r} is an option of method='grad-cam': leave it out")
        return
    for name, value in patches.items():
        if value is not None:
            raise UsageError(f"{name}={value!r} is an option of method='occlusion': leave it out")
    gradcam.check_head(model)
    if block is not None:
        if block not in model.blocks[:-1]:
            raise UnknownNameError("block", block, model.blocks[:-1])
        gradcam.check_block(model, block)
