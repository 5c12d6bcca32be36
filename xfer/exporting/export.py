"""`xfer.export`: a file of a model for another runtime, compared with the model before it is there."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from xfer.checkpoints.checkpoint import is_checkpoint
from xfer.errors import BackendError, UsageError, XferError, check_name
from xfer.exporting.check import Check, Comparison
from xfer.exporting.description import MODEL, describe, described, description
from xfer.exporting.formats import BOUNDS, LEAST_EQUAL, Format, format_of
from xfer.exporting.images import batches, images_to_calibrate, images_to_check
from xfer.exporting.other_process import write_elsewhere
from xfer.models.backend import ALIASES, Backend, get_backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.models.network import WRAPPED
from xfer.runtime.paths import expanded
from xfer.runtime.progress import step
from xfer.runtime.text import one_line, path_text, size_text
from xfer.specs.exported import ExportJob, ExportPrecision, Output, outputs_of
from xfer.weights.hub import is_hub
from xfer.workflows.ensemble import Ensemble
from xfer.workflows.ensemble_files import is_ensemble

LARGEST_ONNX = 2**31 - 2**20  # bytes of one file of protobuf


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Args:
        path: the file, or the folder.
        format: its name.
        precision: of the weights in it.
        bytes: its size.
        model_bytes: that of the model's weights in float32.
        images: which images it was compared on, in words.
        bound: what the greatest difference was held to; None where the classes were.
        check: how it compares with the model.
    """

    path: Path
    format: str
    precision: ExportPrecision
    bytes: int
    model_bytes: int
    images: str
    bound: float | None
    check: Check

    def __repr__(self) -> str:
        size, differs = size_text(self.bytes), f"{self.check.greatest_difference:.1e}"
        return (
            f"Export({self.format}, {self.precision}: {path_text(self.path)}, {size}; "
            f"greatest difference from the model {differs} on {one_line(self.images, 60)})"
        )


def export(
    model: BaseModel | str | Path,
    path: str | Path,
    *,
    to: str,
    precision: ExportPrecision = "float32",
    check: Any = None,
    calibration: Any = None,
    bound: float | None = None,
    backend: str | Backend | None = None,
) -> Export:
    """Write a model as a file that runs without xfer, and compare it with the model.

    The file takes uint8 RGB images (N, S, S, 3) and gives probabilities float32 (N, K), with the temperature; of
    several tasks one output each, under its name. Beside it are `model.json` (what goes in and comes out, classes,
    thresholds, and how the file compares), `labels.txt` and `preprocess.py` (resize and crop in NumPy and Pillow). The
    file is opened in a fresh process, by its own runtime, before it comes to its place.

    Args:
        model: a model, or the folder of a run.
        path: the file; or, without the format's suffix, the folder in which it is called "model".
        to: "onnx", "saved-model", "litert", "torch-export", "torchvision" or "keras".
        precision: "float32"; of LiteRT also "float16" or "int8".
        check: images to compare on: whatever `xfer.data.load` or `predict` takes. By default the validation images of
            the run, at most 512; without a run, or where they are gone, crops of two photographs.
        calibration: training images for int8; by default those of the run.
        bound: of the greatest difference of a probability: 1e-4 in float32, 1e-2 in float16. In int8 95 % of the images
            must keep their class, and the numbers of a regression be within 0.25 standard deviations, unless a bound is
            given.
        backend: of a run, on which it is loaded; of a model, which writes the file. By default their own.

    Raises:
        UsageError: the format cannot hold this model, or a package is missing. XferError: the file differs by more than
            the bound; it is not kept.
    """
    format = format_of(to)
    check_name("precision", precision, get_args(ExportPrecision))
    if precision not in format.precisions:
        raise UsageError(f"--to {to} is written in {', '.join(format.precisions)}, not in {precision}")
    run = None if isinstance(model, BaseModel) else _run(model)
    target = format.file(expanded(path))
    original = model
    if not isinstance(original, BaseModel):
        original = load(original, backend=backend, device="cpu", precision="fp32")
    _check(original, format)
    writer = _writer(original, format, backend if run is None and not is_hub(model) else None)
    format.check_installed(writer)
    with original.exclusively():
        exact = _in_float32(original)
    outputs = outputs_of(exact.classes, exact.spec.tasks, exact.decision)
    about = description(exact, outputs)
    folder = target if not format.suffixes else target.parent
    files = described(folder, about)
    _check_target(target, format)
    arrays: tuple[np.ndarray, ...] = ()
    if precision == "int8":
        arrays = _calibration(exact, images_to_calibrate(exact, calibration, run))
    split, which = images_to_check(exact, check, run)
    with _beside(target) as part, _compared(exact, outputs, split) as comparison:
        made = part / target.name
        metadata = {MODEL: json.dumps(about)}
        job = ExportJob(to, str(made), outputs, metadata, precision, arrays)
        with step(f"writing {target.name}"):
            if writer == exact.backend.name:
                with exact.exclusively():  # a wrapped network is the user's own
                    get_backend(exact.backend).export(exact, job)
            else:
                write_elsewhere(exact, job, writer)
        with step(f"comparing {target.name} with the model"):
            found = comparison.of(made, format)
        limit = BOUNDS[precision] if bound is None and precision not in LEAST_EQUAL else bound
        if over := _over(found, outputs, precision, limit):
            raise XferError(f"{target.name} {over} of {which}: it is not kept; --bound allows more")
        result = Export(target, to, precision, _size(made), 4 * sum(exact.parameters.values()), which, limit, found)
        _move(part, target)
    entry = {name: value for name, value in asdict(result).items() if name != "path"}
    describe(folder, about, files | {target.name: entry}, exact)
    return result


def _run(model: Any) -> Path | None:
    """The folder of a run; None for a run on the hub, whose images are elsewhere."""
    if isinstance(model, Ensemble) or (isinstance(model, (str, Path)) and is_ensemble(model)):
        raise UsageError("an ensemble is of several models: export its members one by one")
    if is_hub(model):
        return None
    if not isinstance(model, (str, Path)) or not is_checkpoint(model):
        raise UsageError(f"{str(model)!r} is no run: expected a folder with a manifest.json, or a model")
    return expanded(model)


def _check(model: BaseModel, format: Format) -> None:
    """Refuse what no file can hold."""
    model.spec.numerics.check_own("exported")
    if model.estimator is not None:
        kind = type(getattr(model.estimator, "estimator", model.estimator)).__name__
        raise UsageError(
            f"the head is scikit-learn's {kind}, which {format.name} cannot hold: train a head of xfer (Head()), or "
            "serve the run with xfer.load(run).predict"
        )
    size = 4 * sum(model.parameters.values())
    if format.name == "onnx" and size > LARGEST_ONNX:
        raise UsageError(
            f"{model.name} has {size / 2**30:.1f} GiB of weights, and a file of ONNX holds 2: give --to torch-export "
            "or saved-model"
        )


def _writer(model: BaseModel, format: Format, backend: str | Backend | None) -> str:
    """The backend that writes the file: the one given, else the model's own where it can, else the first that can."""
    own = model.backend.name
    writes = isinstance(model.backend, Backend) and format.name in model.backend.formats
    if not writes and model.card.family == WRAPPED:
        raise UsageError(f"{model.name} is a network of {own}, which writes no {format.name}: give another --to")
    if backend is None:
        return own if writes else format.backends[0]
    name = ALIASES.get(backend, backend) if isinstance(backend, str) else backend.name  # not imported: it is another's
    can = (own,) if model.card.family == WRAPPED else format.backends
    if name not in can:
        raise UsageError(f"backend {name!r} does not write {format.name} of {model.name}: give {', '.join(can)}")
    return name


def _in_float32(model: BaseModel) -> BaseModel:
    """The same model in float32 on the CPU, not compiled."""
    plain = replace(model.spec, precision="fp32", device="cpu", compile=False, deterministic=False, lora=None)
    if model.card.family == WRAPPED:
        if model.spec.precision != "fp32" or model.spec.device != "cpu":
            raise UsageError(
                f"{model.name} computes in {model.spec.precision} on {model.spec.device}: wrap it with "
                "precision='fp32' and device='cpu' to export it"
            )
        return model
    if not isinstance(model.backend, Backend):
        raise BackendError(f"backend {model.backend.name!r} builds no models")
    made = model.backend.build(plain)
    weights = model.weights() if model.spec.lora is None else model.spec.lora.merged(model.weights())
    made.write({name: np.asarray(array, np.float32) for name, array in weights.items()})
    made.columns, made.decision = model.columns, model.decision
    return made


def _over(found: Check, outputs: Sequence[Output], precision: ExportPrecision, limit: float | None) -> str:
    """How a file differs from the model by more than it may; empty if it does not. Without a limit classes are held."""
    if limit is None and not found.equal_classes >= LEAST_EQUAL[precision] * found.images:
        return (
            f"keeps the class of {found.equal_classes} of {found.images} images, fewer than "
            f"{LEAST_EQUAL[precision]:.0%},"
        )
    most = BOUNDS[precision] if limit is None else limit
    for output in outputs:
        held = limit is not None or output.kind == "regression"
        difference = found.differences[output.name]
        if held and not difference <= most:
            return f"differs from the model by {difference:.1e} in a number of {output.name}, more than {most:.1e},"
    return ""


def _calibration(model: BaseModel, split: Any) -> tuple[np.ndarray, ...]:
    found = list(batches(model, split, "reading images for int8"))
    arrays = [np.concatenate([each.values for each in found])]
    if model.spec.columns:
        arrays.append(np.concatenate([each.columns for each in found if each.columns is not None]))
    return tuple(arrays)


def _check_target(target: Path, format: Format) -> None:
    """Refuse to write over what is no export."""
    if format.suffixes and target.is_dir():
        raise UsageError(f"{target} is a folder: give a file that ends in {format.suffixes[0]}")
    other = not format.suffixes and target.exists() and not (target / "saved_model.pb").is_file()
    if other and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there and no SavedModel: give a new folder as --out")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A folder on the same file system, in which a file is not yet to be found."""
    new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            yield Path(folder)
    finally:
        if new and not any(target.parent.iterdir()):
            target.parent.rmdir()


@contextmanager
def _compared(model: BaseModel, outputs: Any, split: Any) -> Iterator[Comparison]:
    comparison = Comparison(model, outputs, split)
    try:
        yield comparison
    finally:
        comparison.close()


def _move(part: Path, target: Path) -> None:
    """Everything that was written, to where the target is."""
    for made in part.iterdir():
        place = target.parent / made.name
        if place.is_dir():
            shutil.rmtree(place)
        made.replace(place)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
