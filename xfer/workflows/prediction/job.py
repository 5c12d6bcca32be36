"""Predicting a long list of images into a table: an interrupted job continues, and makes the same file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from xfer.data.dataset import Split
from xfer.errors import CheckpointError, UsageError
from xfer.models.base_model import BaseModel
from xfer.models.predictor import PREDICTING, OnBatch, Predictor, window
from xfer.runtime.distributed import launch_environment
from xfer.runtime.paths import expanded
from xfer.runtime.progress import step, work
from xfer.runtime.signals import Interrupted, Watch
from xfer.specs.inputs import Inputs
from xfer.training.batch_size import largest_pass
from xfer.workflows.prediction.formats import format_of
from xfer.workflows.prediction.identity import images_identity, model_identity, models_of
from xfer.workflows.prediction.parts import Parts
from xfer.workflows.prediction.record import Finished, Record, previous
from xfer.workflows.prediction.table import Table, empty_table, predictions_table

_ON_HOST = 32  # images of a forward pass; more are no faster there


@dataclass(frozen=True)
class PredictionOptions:
    """What decides a table of predictions beside the model and the images.

    Args:
        top: how many classes to list.
        probabilities: whether the probabilities of all classes are listed.
        batch_size: images of a forward pass; "auto" is 32 on the host, else the largest that fits, at most 256. A job
            continues with the one that it began with.
        tta: test-time augmentation.
    """

    top: int = 5
    probabilities: bool = False
    batch_size: int | Literal["auto"] = 32
    tta: str = "none"


class PredictionJob:
    """A table of predictions that is to be written, or was written.

    Beside the file `OUT` there is `OUT.json`, a record of what it is made from; until it is finished, also `OUT.parts`,
    a folder with the rows of some images in each file. A part is complete on the disk or not there, and consists of
    whole batches, so a job that was killed at any moment continues with the next part. The file takes its name when it
    is complete.

    Args:
        out: the file, `.csv`, `.jsonl` or `.parquet`; its folder is made if need be.

    Raises:
        UsageError: another kind of file, a folder, or pyarrow is not installed. CheckpointError: it cannot be written.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = expanded(out)
        self.format = format_of(self.out)
        if self.out.is_dir():
            raise UsageError(f"{self.out} is a folder: give a file")
        if launch_environment().size > 1:
            raise UsageError(f"{self.out} is written by one process: start xfer predict without a launcher")
        self._record = self.out.with_name(f"{self.out.name}.json")
        self._parts = Parts(self.out.with_name(f"{self.out.name}.parts"))
        with self._writing():
            self.out.parent.mkdir(parents=True, exist_ok=True)
        with self._parts:  # find out before the work, not after, that nothing can be written
            pass

    def run(self, model: Predictor, images: Split, options: PredictionOptions) -> tuple[Finished, bool]:
        """Write the table, or what is missing of it; nothing if it is finished.

        Args:
            model: the model or ensemble.
            images: in the order of the rows.
            options: see `PredictionOptions`.

        Returns:
            The table, and whether it was finished before.

        Raises:
            UsageError: `out` holds something else. CheckpointError: it cannot be written, or another process does.
            Interrupted: by Ctrl-C or SIGTERM; the same job continues.
        """
        header = empty_table(model, top=options.top, probabilities=options.probabilities)
        with self._parts, Watch() as watch:
            try:
                with watch.anywhere():
                    _resolve_precision(model, images)
                    record = self._record_of(model, images, options)
                    if record.finished is not None:
                        self._parts.clear()
                        return record.finished, True
                    chosen = replace(options, batch_size=record.batch_size)
                    unreadable = self._predict(model, images, chosen)
                    with step(f"writing {self.out.name}"):
                        return self._finish(record, header, unreadable, len(images)), False
            except Interrupted as error:
                error.saved = self._parts.folder if self._parts.any() else None
                raise

    def _record_of(self, model: Predictor, images: Split, options: PredictionOptions) -> Record:
        """The record of this job, as it was left, or of one that begins."""
        chosen = asdict(options)
        size = chosen.pop("batch_size")
        job = {"images": images_identity(images), **chosen, **model_identity(model)}
        record = previous(self._record, self.out, job, size, self._parts.any())
        if record is None:
            record = Record(job, images_a_pass(model, size))
            with self._writing():
                self._parts.clear()  # first, for they do not belong to the new record
                self._write_record(record)
        return record

    def _predict(self, model: Predictor, images: Split, options: PredictionOptions) -> list[int]:
        """Write the parts that are missing; how many images of each cannot be read."""
        assert options.batch_size != "auto"
        size = window(len(model.classes), options.batch_size)
        starts = range(0, len(images), size)
        unreadable = [self._parts.unreadable(number) for number in range(len(starts))]
        there = sum(
            min(size, len(images) - start) for start, n in zip(starts, unreadable, strict=True) if n is not None
        )
        with work(PREDICTING, len(images), done=there) as report:
            for number, start in enumerate(starts):
                if unreadable[number] is None:
                    split = images.subset(np.arange(start, min(start + size, len(images))))
                    unreadable[number] = self._predict_part(number, model, split, options, report.advance)
        return [number or 0 for number in unreadable]

    def _predict_part(
        self, number: int, model: Predictor, split: Split, options: PredictionOptions, tell: OnBatch
    ) -> int:
        """Write a part; how many of its images cannot be read."""
        assert options.batch_size != "auto"
        try:
            found = model.predict_split(split, batch_size=options.batch_size, tta=options.tta, on_batch=tell)
        except BaseException:
            if not self._parts.any():  # there is nothing to continue
                self._record.unlink(missing_ok=True)
            raise
        table = predictions_table(model, split.names, found, top=options.top, probabilities=options.probabilities)
        with self._writing():
            self._parts.write(number, self.format.part(table), len(found.unreadable))
        return len(found.unreadable)

    def _finish(self, record: Record, header: Table, unreadable: Sequence[int], images: int) -> Finished:
        """Make the table of its parts, which then go."""
        parts = self._parts.opened(len(unreadable))
        with self._writing():
            digest = self._parts.beside(self.out, lambda file: self.format.join(header, parts, file))
            finished = Finished(images, sum(unreadable), digest)
            self._write_record(replace(record, finished=finished))
            self._parts.clear()
        return finished

    def _write_record(self, record: Record) -> None:
        self._parts.beside(self._record, lambda file: file.write(record.content()))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CheckpointError(f"cannot write {self.out}: {error.strerror or error}; give another --out") from None


def _resolve_precision(model: Predictor, images: Split) -> None:
    """Choose a precision that is "auto" on the first images, wherever the job is continued."""
    for network in models_of(model):
        for start in range(0, len(images), _ON_HOST):
            if not network.undecided:
                break
            network.resolve_precision_on(images.subset(np.arange(start, min(start + _ON_HOST, len(images)))))


def images_a_pass(model: Predictor, given: int | Literal["auto"]) -> int:
    """The batch size that was given, or that "auto" is."""
    if given != "auto":
        return given
    return min(_ON_HOST if network.spec.device == "cpu" else _largest_pass(network) for network in models_of(model))


def _largest_pass(network: BaseModel) -> int:
    size, width = network.spec.preprocessing.size, network.spec.columns

    def run(images: int) -> None:
        blank = np.zeros((images, width)) if width else None
        network.logits(Inputs(np.zeros((images, size, size, 3), np.uint8), None, blank))

    return largest_pass(run, network.backend.out_of_memory)
