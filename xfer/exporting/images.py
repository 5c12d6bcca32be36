"""The images on which an export is compared with the model, and those that int8 takes its ranges from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from xfer.data import Data, Loader, Split, pictures
from xfer.errors import UsageError, XferError
from xfer.evaluation.loaders import one_split
from xfer.models.base_model import BaseModel
from xfer.specs.inputs import Inputs
from xfer.workflows.config import run_settings
from xfer.workflows.results import recorded
from xfer.workflows.setup import read_data, table_options

MOST = 512  # images of a run's own data, and of a calibration
_CROPS = 64


def images_to_check(model: BaseModel, check: Any, run: Path | None) -> tuple[Split, str]:
    """Images, and which they are in words: those given; else of the run's data; else of two sample photographs.

    Raises:
        DataError, UsageError: what is given cannot be read as images.
    """
    if check is not None:
        return _given(model, check, None), str(check) if isinstance(check, (str, Path)) else "the images given"
    own = _own(run)
    if own is None:
        return pictures(_photographs(model.spec.preprocessing.resize)), "crops of scikit-learn's sample photographs"
    return one_split(own, None).train.limit(MOST, 0), f"{own.source} ({'val' if own.val is not None else 'train'})"


def images_to_calibrate(model: BaseModel, calibration: Any, run: Path | None) -> Split:
    """Images of the training split of what is given, or of the run's data.

    Raises:
        UsageError: the run's data are not there, and nothing is given.
    """
    if calibration is not None:
        return _given(model, calibration, "train").limit(MOST, 0)
    own = _own(run)
    if own is None:
        raise UsageError(
            "--precision int8 takes its ranges from training images, which are not there: --calibration DATA"
        )
    return own.train.limit(MOST, 0)


def batches(model: BaseModel, split: Split, doing: str) -> Iterator[Inputs]:
    """Inputs of the network, 32 at a time; random numbers in place of columns that the images do not bring.

    Args:
        model: of which.
        split: the images.
        doing: what the progress of the pass is called.
    """
    columns = model.columns if split.columns is not None else None
    plain = split if columns is not None else replace(split, columns=None, column_names=())
    loader = Loader(plain, model.spec.preprocessing, batch_size=32, workers=None, columns=columns)
    rng, width = np.random.default_rng(0), model.spec.columns
    for batch in loader.epoch(0, doing=doing):
        given = batch.inputs
        if width and given.columns is None:
            given = replace(given, columns=rng.standard_normal((len(given), width)).astype(np.float32))
        yield given


def _given(model: BaseModel, given: Any, split: str | None) -> Split:
    if isinstance(given, Data):
        return one_split(given, split if split in given.splits else None).train
    if not isinstance(given, (str, Path)):
        return pictures(given)
    found = read_data(run_settings({"data": str(given)}, table_options(model)), hold_out=False)
    return one_split(found, split if split in found.splits else None).train


def _own(run: Path | None) -> Data | None:
    """The data that a run was trained on, if they are where they were."""
    try:
        before = (recorded(run) if run else None) or {}
        return read_data(run_settings(before["config"]))
    except (XferError, ValidationError, KeyError, TypeError, AttributeError):
        return None


def _photographs(side: int) -> np.ndarray:
    """Crops of photographs that scikit-learn brings, uint8 (N, S, S, 3)."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng, found = np.random.default_rng(0), []
    images = [Image.fromarray(image) for image in load_sample_images().images]
    for i in range(_CROPS):
        image = images[i % len(images)]
        width = int(rng.integers(64, min(image.size) + 1))
        left, top = (int(rng.integers(0, whole - width + 1)) for whole in image.size)
        found.append(np.asarray(image.resize((side, side), box=(left, top, left + width, top + width))))
    return np.stack(found)
