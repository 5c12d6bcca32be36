"""Explanations as files: an overlay for each image, and one page with all of them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xfer.data.dataset import Split
from xfer.errors import CheckpointError, UnreadableError
from xfer.evaluation.explanations.explain import Explanations
from xfer.evaluation.explanations.occlusion import side_by_side
from xfer.models.base_model import BaseModel
from xfer.models.predictions import by_task, rank
from xfer.report.overlay import gradient, overlay
from xfer.report.template import fill
from xfer.report.thumbnails import data_uri
from xfer.runtime.files import write_atomically
from xfer.runtime.progress import work

PAGE = "explanations.html"
MOST = 200  # images on the page, about 30 kB each
_SIDE = 256  # pixels of a picture on the page, at most
_STEM = 60  # characters of an image's name in that of its overlay


def write(
    model: BaseModel,
    images: Split,
    folder: Path,
    *,
    top: int = 5,
    batch_size: int = 32,
    **options: Any,
) -> dict[str, Any]:
    """Write `NUMBER-NAME.png` for each image that can be read, and `explanations.html` with the first `MOST`.

    Args:
        model: the model.
        images: to explain; only those of a batch are in memory.
        folder: that exists.
        top: how many classes to list.
        batch_size: images of a forward pass.
        options: `target`, `method` and others of `xfer.evaluation.explanations.explain.explain`.

    Returns:
        What `xfer explain --json` prints: "images" with name, overlay, target and predictions of each, and "unreadable"
        with the reasons by name.

    Raises:
        CheckpointError: the folder cannot be written into. What `explain` raises.
    """
    rows: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    unreadable: dict[str, str] = {}
    found: Explanations | None = None
    with work("explaining", len(images)) as report:
        for start in range(0, len(images), batch_size):
            part = images.subset(np.arange(start, min(start + batch_size, len(images))))
            try:
                found = model.explain(part, batch_size=batch_size, **options)
            except UnreadableError as error:  # which has those of the others; who calls says what could not be read
                found = error.answers
            assert found is not None
            options["block"] = found.block
            unreadable |= {found.names[i]: reason for i, reason in found.predictions.unreadable.items()}
            for i, row in _rows(model, found, top):
                picture = overlay(found.images[i], found.maps[i])
                row["overlay"] = overlay_name(start + i + 1, row["image"])
                _write(folder / row["overlay"], _png(picture))
                if len(shown) < MOST:
                    pictures = {"before": found.images[i], "after": picture}
                    uris = {key: data_uri(_image(each), _SIDE) for key, each in pictures.items()}
                    shown.append(row | uris | {"empty": not found.maps[i].any()})
                rows.append(row)
            report.advance(len(part))
    if found is not None and rows:
        _write(folder / PAGE, render(model, found, shown, len(rows), unreadable))
    method = {} if found is None else {"method": found.method, "block": found.block}
    return {**method, "page": PAGE if rows else None, "images": rows, "unreadable": unreadable}


def render(
    model: BaseModel, found: Explanations, shown: list[dict[str, Any]], number: int, unreadable: dict[str, str]
) -> bytes:
    """The page as UTF-8.

    Args:
        model: the model.
        found: of the last images, for the method and the block.
        shown: what `write` lists of images, with "before" and "after", data URIs, and whether the map is "empty".
        number: of images with an overlay.
        unreadable: why images could not be read, by name.
    """
    return fill(
        "explanations.html",
        model=model.name,
        backend=model.backend.name,
        method=found.method,
        block=found.block,
        grid=found.raw.shape[1:],
        size=model.spec.preprocessing.size,
        shown=shown,
        number=number,
        other=sum(row.get("label", row["target"]) != row["target"] for row in shown),
        unreadable=unreadable,
        gradient=gradient(),
    )


def overlay_name(number: int, image: str) -> str:
    """A file name that any system takes: the number of the image, and what of its own name is letters or digits."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(image).stem).strip("_")[:_STEM]
    return f"{number:04d}{stem and f'-{stem}'}.png"


def _rows(model: BaseModel, found: Explanations, top: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and document of each image that can be read."""
    if model.tasks:
        predictions: list[dict[str, Any]] = [{"tasks": each} for each in by_task(model.tasks, found.predictions)]
    else:
        ranked = rank(found.predictions, model.classes, model.decision, top)
        predictions = [
            {} if each is None else {"label": each.label, "probability": each.probability, "top": _pairs(each.top)}
            for each in ranked
        ]
    values = side_by_side(model, found.predictions.outputs)
    for i, (name, target) in enumerate(zip(found.names, found.target_names, strict=True)):
        if target is not None:
            value = float(values[i, found.targets[i]])
            yield i, {"image": name, "target": target, "target_output": value, **predictions[i]}


def _pairs(top: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    return [{"label": label, "probability": probability} for label, probability in top]


def _image(pixels: np.ndarray | Image.Image) -> Image.Image:
    return pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}; give another --out") from None
