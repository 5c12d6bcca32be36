"""Predicting a long list of images into a table: an interrupted job continues, and makes the same file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from xfer.data.dataset import Split
from xfer.errors import CheckpointError, UsageError
from xfer.models.predictor import PREDICTING, Predictor, window
from xfer.runtime.distributed import launch_environment
from xfer.runtime.paths import expanded
from xfer.runtime.progress import step, work
from xfer.runtime.signals import Interrupted, Watch
from xfer.workflows.prediction.formats import format_of
from xfer.workflows.prediction.identity import images_identity
from xfer.workflows.prediction.maker import Described, InProcess, PartMaker, PredictionOptions
from xfer.workflows.prediction.parts import Parts
from xfer.workflows.prediction.record import Finished, Record, previous
from xfer.workflows.prediction.table import Table


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

    def run(self, model: Predictor | PartMaker, images: Split, options: PredictionOptions) -> tuple[Finished, bool]:
        """Write the table, or what is missing of it; nothing if it is finished.

        Args:
            model: the model or ensemble, or what has it predict in other processes.
            images: in the order of the rows.
            options: see `PredictionOptions`.

        Returns:
            The table, and whether it was finished before.

        Raises:
            UsageError: `out` holds something else. CheckpointError: it cannot be written, or another process does.
            Interrupted: by Ctrl-C or SIGTERM; the same job continues.
        """
        maker = InProcess(model) if isinstance(model, Predictor) else model
        with self._parts, Watch() as watch:
            try:
                with watch.anywhere():
                    described = maker.describe(images, options)
                    record = self._record_of(maker, described, images, options)
                    if record.finished is not None:
                        self._parts.clear()
                        return record.finished, True
                    chosen = replace(options, batch_size=record.batch_size)
                    unreadable = self._predict(maker, images, chosen, window(described.classes, record.batch_size))
                    with step(f"writing {self.out.name}"):
                        return self._finish(record, described.header, unreadable, len(images)), False
            except Interrupted as error:
                error.saved = self._parts.folder if self._parts.any() else None
                raise

    def _record_of(self, maker: PartMaker, described: Described, images: Split, options: PredictionOptions) -> Record:
        """The record of this job, as it was left, or of one that begins."""
        chosen = asdict(options)
        size = chosen.pop("batch_size")
        job = {"images": images_identity(images), **chosen, **described.identity}
        record = previous(self._record, self.out, job, size, self._parts.any())
        if record is None:
            record = Record(job, maker.batch_size(size))
            with self._writing():
                self._parts.clear()  # first, for they do not belong to the new record
                self._write_record(record)
        return record

    def _predict(self, maker: PartMaker, images: Split, options: PredictionOptions, size: int) -> list[int]:
        """Write the parts that are missing, of so many images; how many of each cannot be read."""
        starts = range(0, len(images), size)
        unreadable = [self._parts.unreadable(number) for number in range(len(starts))]
        missing = [number for number, there in enumerate(unreadable) if there is None]
        places = {number: np.arange(starts[number], min(starts[number] + size, len(images))) for number in missing}
        done = len(images) - sum(map(len, places.values()))
        with work(PREDICTING, len(images), done=done) as report:
            parts = ((number, images.subset(places[number])) for number in missing)
            try:
                for number, part in maker.make(parts, options, self.out.suffix, report.advance):
                    with self._writing():
                        self._parts.write(number, part.content, part.unreadable)
                    unreadable[number] = part.unreadable
            except BaseException:
                if not self._parts.any():  # there is nothing to continue
                    self._record.unlink(missing_ok=True)
                raise
        return [number or 0 for number in unreadable]

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
