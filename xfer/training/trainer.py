"""The loop, written once: epochs, validation, callbacks, and the position it can start from."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.checkpoints.checkpoint import save as save_checkpoint
from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import FitPlan, TrainingState
from xfer.checkpoints.rotation import Checkpoints, latest_checkpoint
from xfer.errors import CheckpointError, DistributedError, UsageError, XferError, check_name
from xfer.evaluation import evaluate as evaluation
from xfer.evaluation.metrics import EPOCH_METRICS, classification_metrics
from xfer.features.cache import CacheUse, FeatureCache
from xfer.runtime.signals import Interrupted, Watch
from xfer.specs.estimator import FittedEstimator
from xfer.specs.inputs import head_inputs
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerName, OptimizerSpec
from xfer.specs.rates import Rates, block_rates
from xfer.specs.schedule import Schedule, ScheduleName
from xfer.specs.tasks import losses
from xfer.training import diagnosis
from xfer.training import loaders as feeding
from xfer.training.callback import Callback
from xfer.training.fit_state import Fit
from xfer.training.history import History, Row
from xfer.training.monitor import BestWeights, EarlyStopping, MetricMonitor
from xfer.training.progress import Progress
from xfer.training.weight_averaging import WeightAverage

if TYPE_CHECKING:
    from xfer.data import Augment, Data, Loader, Mix, OnBad, Sampling, Skipped
    from xfer.models.backend import Backend
    from xfer.models.base_model import BaseModel

_PASS = 32  # images at once where nobody said how many
DECAY_PER_BLOCK = 2.6  # Howard & Ruder 2018 (arXiv:1801.06146): each lower layer's rate is the one above over 2.6
MOST_VIEWS = 1000


class TrainingError(XferError):
    """A run that cannot go on."""


class Trainer:
    """Trains a model by one update rule; the optimizer's state lasts from fit to fit.

    In a run of several processes, which torchrun starts, each makes, trains and saves the same as one alone would:
    they share every batch, have one loss, and end with one set of weights. The first alone writes and shows progress.
    Losses are those of one process but for dropout, which each draws for its own images.

    Args:
        model: what is not frozen in it is trained.
        lr: base learning rate, or rates by block (see `xfer.specs.rates.block_rates`).
        optimizer: "sgd", "adam", "adamw", or a spec with its constants.
        schedule: "constant", "cosine", "step", "onecycle", or a spec with warm-up.
        loss: label smoothing, class weights, focal or logit-adjusted loss; of several tasks, each brings its own.
        clip_norm: bound of the gradients' global norm.
        batch_size: images an update, of all processes together; "auto" is the largest power of two that fits into
            memory, found at the beginning of each fit, at most 256 and such that an epoch has 16 updates. A last batch
            of one image is left out where others exist, because batch statistics of one image say nothing.
        seed: of sampling, order, augmentation and dropout.
        augment: such as "flip,crop", or a preset ("light", "strong"); see `xfer.data.Augment`.
        sampling: which training images make an epoch where classes are of different sizes; validation sees its own as
            they are. "none": each image once. "over": as many of each class as the largest has, small classes
            repeated with another augmentation each time. "under": as many as the smallest has, others each epoch.
            "balanced": equally many of each class, in all as many as there are images.
        augment_minority: takes the place of `augment` for classes with fewer images than the mean class has.
        mix: "mixup", "cutmix", with their numbers, or both; see `xfer.data.Mix`.
        workers: decoding threads; None for one a core, 0 for none.
        on_bad: "report" leaves out images that cannot be read, in training and validation, and lists those of
            training in `skipped`; "raise" stops at the first; "impute" puts a blank image of the mean colour in the
            place of each, and lists it too.
        early_stopping: epochs without improvement of `monitor` before a fit ends; None never ends early.
        restore_best: put back the weights of the epoch with the best `monitor` at the end of each fit.
        monitor: "loss", or "val_" and any metric of `xfer.evaluation.metrics`, such as "val_loss", "val_accuracy", "val_mcc",
            "val_top3_accuracy". What is neither shown in every epoch nor watched is not computed while training.
        cache: whether outputs of frozen blocks are computed once and kept on disk, where that changes nothing: of
            validation images, and of training images in two epochs or more without augmentation and mixing, or for an
            estimator. A path says where; see `xfer.features.cache.FeatureCache`.
        image_memory: GiB of decoded images that training and validation keep from epoch to epoch of a fit, as far as
            they fit; the same pixels, without decoding them again. None is a quarter of the free memory, at most 2
            GiB; 0 keeps none. A file that changes on disk during a fit may go unnoticed.
        cache_views: augment as in the first so many epochs, over and over: epoch e, counted from 0, sees the views of
            epoch e modulo `cache_views`, and the cache keeps outputs of frozen blocks for each. None never repeats a
            view, and keeps none.
        checkpoints: where to save the run while it trains, a folder or `Checkpoints`, which says how often. Ctrl-C and
            SIGTERM then end a fit after the update under way, with one more checkpoint. None saves nothing.
        swa: stochastic weight averaging: a fit ends with the mean weights of its last so many epochs, in place of the
            best epoch's.
        callbacks: further `xfer.training.callback.Callback` objects.
        progress: a bar in a terminal, a line an epoch elsewhere, on stderr.

    Attributes:
        history: one row an epoch over all fits.
        skipped: training images that could not be read in the last fit, each with the reason.
        epoch, batch: the position; the next batch to train on.
        distributed: the processes of the run; `distributed.rank` is 0 in the first.
        plan: the fit under way, also after an interruption; None otherwise.
        saved: the checkpoint that was written, or resumed from, last.
        extra: what else each checkpoint keeps, as JSON has it.
    """

    def __init__(
        self,
        model: BaseModel,
        *,
        lr: Rates = 1e-3,
        optimizer: OptimizerName | OptimizerSpec = "adamw",
        schedule: ScheduleName | Schedule = "constant",
        loss: LossSpec | None = None,
        clip_norm: float | None = None,
        batch_size: int | Literal["auto"] = 32,
        seed: int = 0,
        augment: str | Augment = "none",
        sampling: Sampling = "none",
        augment_minority: str | Augment | None = None,
        mix: str | Mix = "none",
        workers: int | None = None,
        on_bad: OnBad = "report",
        early_stopping: int | None = None,
        restore_best: bool = True,
        monitor: str = "val_loss",
        cache: bool | str | Path | FeatureCache = True,
        image_memory: float | None = None,
        cache_views: int | None = None,
        swa: int | None = None,
        checkpoints: str | Path | Checkpoints | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> None:
        from xfer.data import Augment, Budget, Mix, OnBad, Sampling

        check_name("on_bad", on_bad, get_args(OnBad))
        check_name("sampling", sampling, get_args(Sampling))
        self.auto_batch = batch_size == "auto"
        self.batch_size = _PASS if batch_size == "auto" else batch_size
        if self.batch_size < 1:
            raise UsageError(f"batch_size={batch_size}: give at least 1, or auto")
        if clip_norm is not None and not clip_norm > 0:
            raise UsageError(f"clip_norm={clip_norm}: give a positive number, or None not to clip")
        if cache_views is not None and not 1 <= cache_views <= MOST_VIEWS:
            raise UsageError(f"cache_views={cache_views}: give 1 to {MOST_VIEWS}, or None for another view each epoch")
        if cache_views is not None and Mix.parse(mix):
            raise UsageError(f"cache_views={cache_views}: mix={mix} blends other images each epoch; leave one out")
        self.model, self.distributed = model, model.backend.distributed_context(model.spec.device)
        self.rates = block_rates(lr, model.blocks)
        self.schedule = schedule if isinstance(schedule, Schedule) else Schedule(schedule)
        if model.spec.tasks and loss is not None:
            raise UsageError("loss is given for a model with several tasks: give each Task its own")
        self.augment, self.sampling, self.mix = Augment.parse(augment), sampling, Mix.parse(mix)
        self.augment_minority = None if augment_minority is None else Augment.parse(augment_minority)
        self.seed, self.workers, self.on_bad = seed, workers, on_bad
        self.monitor, self.early_stopping = monitor, early_stopping
        self.restore_best = restore_best and swa is None
        averages = [] if swa is None else [WeightAverage(swa)]
        rule = optimizer if isinstance(optimizer, OptimizerSpec) else OptimizerSpec(optimizer)
        chosen = losses(model.spec.tasks) if model.spec.tasks else loss or LossSpec()
        self.stepper = model.backend.stepper(model, rule, chosen, clip_norm)
        self.callbacks = [*callbacks, *averages, *([Progress()] if progress and self.distributed.rank == 0 else [])]
        self.cache, self.cache_views = FeatureCache.of(cache), cache_views
        self.cached: CacheUse | None = None
        Budget.of(image_memory)  # refuses what is no size
        self.image_memory = image_memory
        here = Checkpoints(checkpoints) if isinstance(checkpoints, (str, Path)) else checkpoints
        self.checkpoints = here
        self.extra: dict[str, Any] = {}
        self.history = History()
        self.skipped: list[Skipped] = []
        self.epoch = self.batch = 0
        self._fit: Fit | None = None
        self._fit_progress: FitProgress | None = None
        self.stop = False
        self.saved: Path | None = None
        self.plan: FitPlan | None = None

    @classmethod
    def resume(
        cls,
        run: str | Path,
        *,
        backend: str | Backend | None = None,
        device: str = "auto",
        compile: bool = False,
        deterministic: bool | None = None,
        **options: Any,
    ) -> Self:
        """A trainer that stands where the one stood that saved `run`, on the same backend or another.

        Weights, freeze plan, optimizer slots, rates, schedule, seeds, the position in the data and what the callbacks
        keep come from the run. `fit(data)` without epochs then finishes the fit that was under way. With the same
        versions, device and number of threads it ends bit by bit as if it had never stopped.

        Args:
            run: a folder that `save` wrote; or one with checkpoints, of which the newest that is whole is taken.
            backend, device, compile, deterministic: as in `xfer.load`.
            options: `workers`, `on_bad`, `early_stopping`, `restore_best`, `monitor`, `cache`, `image_memory`,
                `swa`, `checkpoints`, `callbacks`, `progress`, as in `Trainer`.

        Raises:
            CheckpointError: the run is damaged, or holds no training state.
        """
        from xfer.data import Skipped
        from xfer.models.factory import load

        opened = latest_checkpoint(run) or open_checkpoint(run)
        state = opened.manifest.training
        if state is None:
            raise CheckpointError(f"{run} holds a model but no training state: save it with trainer.save()")
        trainer = cls(
            load(opened.path, backend=backend, device=device, compile=compile, deterministic=deterministic),
            lr=state.rates,
            optimizer=state.optimizer,
            schedule=state.schedule,
            loss=None if state.loss.tasks else state.loss,
            clip_norm=state.clip_norm,
            batch_size=state.batch_size,
            seed=state.seed,
            augment=state.augment,
            sampling=state.sampling,
            augment_minority=state.augment_minority,
            mix=state.mix,
            cache_views=state.cache_views,
            **options,
        )
        trainer.stepper.load_state(opened.optimizer_state())
        trainer.stepper.micro_batch_size = state.micro_batch_size
        trainer.epoch, trainer.batch, trainer.plan = state.epoch, state.step, state.fit
        trainer.saved = opened.path
        trainer._fit_progress = opened.progress()
        if trainer._fit_progress is None:
            trainer.history.read(opened.path)
        else:
            trainer.history[:], trainer.extra = trainer._fit_progress.history, trainer._fit_progress.extra
            trainer.skipped = [Skipped(*bad) for bad in trainer._fit_progress.skipped]
        return trainer

    def fit(self, data: Any, epochs: int | None = None, *, lr: Rates | None = None, phase: str = "") -> History:
        """Train for `epochs` more epochs and validate after each.

        The schedule runs over the updates of this fit. Sampling, order and augmentation depend on (seed, epoch, index)
        alone, so a fit that was interrupted goes on as if it had never stopped.

        Args:
            data: a `Data`, or whatever `xfer.data.load` takes; its classes must be the model's, matched by name.
            epochs: how many, at least 1; None finishes the fit that was interrupted. A head that is an estimator is
                fitted once, whatever is said.
            lr: replaces the trainer's rates from now on.
            phase: a word for the history.

        Returns:
            The rows of these epochs; `history` has all.

        Raises:
            UsageError: nothing is trainable. DataError: the data does not fit the model, or an image cannot be read
            and `on_bad` is "raise". TrainingError: a loss or gradients are not finite; weights and slots are those
            before the step. NumbersError: answers in validation are not. DistributedError: another process has ended.
            CheckpointError: no checkpoint can be written; the last one stands. Interrupted: by Ctrl-C or SIGTERM, with
            a checkpoint.
        """
        from xfer.data import load

        if epochs is None and self.plan is None and self.model.estimator is None:
            raise UsageError("no fit was interrupted: say for how many epochs to train")
        if epochs is not None and epochs < 1:
            raise UsageError(f"epochs={epochs}: give at least 1")
        if self.model.estimator is not None:
            return self._fit_estimator(load(data), phase)
        if not self.model.trainable:
            raise UsageError("nothing is trainable: call model.unfreeze() first")
        if lr is not None:
            self.rates = block_rates(lr, self.model.blocks)
        train, validation = feeding.loaders(self, load(data), epochs)
        if epochs is not None:
            self.batch, self.plan, self._fit_progress = 0, FitPlan(self.epoch, epochs, phase), None
        assert self.plan is not None
        watchers = self._watchers(validated=validation is not None)
        # The processes of a run would end after different updates.
        with (
            self.checkpoints or nullcontext(),
            Watch(active=self._is_single_process and self.checkpoints is not None) as watch,
        ):
            return self._run(Fit(self.plan, train, validation, watchers, watch))

    def _run(self, fit: Fit) -> History:
        rows = History()
        try:
            fit.each("on_fit_begin", self, fit.last - self.epoch)
            before, self._fit, self._fit_progress = self._fit_progress or FitProgress(), fit, None
            fit.restore(before)
            self.stop = before.stop
            while self.epoch < fit.last and not self.stop:
                row = self._epoch(fit)
                rows.append(row)
                fit.each("on_epoch_end", self, row)
                self._keep(fit, over=True)
            self.plan = None
        except Interrupted as interrupted:
            interrupted.saved = self.checkpoint()
            raise
        except DistributedError as error:
            way = f"resume from {self.saved}" if self.saved else "no checkpoint was saved: begin again"
            raise DistributedError(f"{error}; {way}") from None
        finally:
            self.skipped = list(fit.train.skipped)
            self._fit_progress, self._fit = None if self.plan is None else self._progress(), None
            fit.each("on_fit_end", self)
        return rows

    def fine_tune(
        self,
        data: Any,
        *,
        head_epochs: int = 5,
        epochs: int = 5,
        unfreeze: int = 1,
        lr: Rates | None = None,
        train_norm: bool = False,
    ) -> History:
        """The two-phase recipe: train the head on a frozen backbone, then the last blocks with lower rates.

        Args:
            data: see `fit`.
            head_epochs: of the first phase; 0 leaves it out.
            epochs: of the second phase.
            unfreeze: how many blocks below the head to train in the second phase.
            lr: rates of the second phase; by default a tenth of the head's for the head, and 2.6 times less for each
                block below (Howard & Ruder 2018).
            train_norm: train the backbone's batch normalisation as well. By default it keeps the statistics of the
                pretraining, which those of a few small batches would spoil.

        Returns:
            The rows of both phases.
        """
        if self.model.estimator is not None:
            raise UsageError("the head is an estimator, through which no gradient passes: fine-tune a Head instead")
        rows = History()
        if head_epochs:
            self.model.freeze()
            rows += self.fit(data, head_epochs, phase="head")
        self.model.unfreeze(last=unfreeze)
        if not train_norm:
            self.model.freezer.freeze_norm()
        rows += self.fit(data, epochs, lr=lr if lr is not None else self.lower_rates(), phase="fine-tune")
        return rows

    def lower_rates(self) -> dict[str, float]:
        """A tenth of the head's rate for the head, and `DECAY_PER_BLOCK` times less for each block below."""
        head = self.rates["head"] / 10
        return {block: head / DECAY_PER_BLOCK**depth for depth, block in enumerate(reversed(self.model.blocks))}

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint with the optimizer's state and the position, and the history beside it.

        In a run of several processes call it in all: the first writes, the others wait.
        """
        folder = Path(path)

        def write() -> None:
            self._write(folder)
            self.history.write(folder)

        self.distributed.on_main_process(write, "save")
        self.saved = folder
        return folder

    def checkpoint(self) -> Path | None:
        """Save into `checkpoints` now; nothing where there are none.

        Raises:
            CheckpointError: it cannot be written; the last one stands.
        """
        if self.checkpoints is not None:
            where, written = self.checkpoints, list[Path]()
            self.distributed.on_main_process(lambda: written.append(where.write(self._write)), "checkpoint")
            self.saved = written[0] if written else where.folder
        return self.saved if self.checkpoints else None

    def _write(self, folder: Path) -> None:
        state, slots = self.state(), self.stepper.state()
        gathered = replace(self._progress(), extra=self.extra)
        save_checkpoint(self.model, folder, training=state, optimizer_state=slots, progress=gathered)

    def state(self) -> TrainingState:
        """What this trainer computes and where it stands."""
        return TrainingState(
            optimizer=self.stepper.optimizer,
            loss=self.stepper.loss,
            schedule=self.schedule,
            rates=self.rates,
            clip_norm=self.stepper.clip_norm,
            batch_size=self.batch_size,
            augment=str(self.augment),
            seed=self.seed,
            epoch=self.epoch,
            step=self.batch,
            fit=self.plan,
            sampling=self.sampling,
            augment_minority=None if self.augment_minority is None else str(self.augment_minority),
            mix=str(self.mix),
            cache_views=self.cache_views,
            micro_batch_size=self.stepper.micro_batch_size,
        )

    def _progress(self) -> FitProgress:
        if self._fit is not None:
            return self._fit.progress(self.history, stop=self.stop)
        if self._fit_progress is not None:  # nothing has happened since
            return self._fit_progress
        return FitProgress(tuple(self.history), skipped=tuple((b.name, b.reason, b.imputed) for b in self.skipped))

    @property
    def _is_single_process(self) -> bool:
        return self.distributed.size == 1

    def _keep(self, fit: Fit, *, over: bool = False) -> None:
        """Write a checkpoint if it is time, and end if a signal says so.

        Args:
            fit: the one under way.
            over: an epoch is. Several processes, whose clocks differ, save then, and after a number of updates.
        """
        fit.watch.look()
        if self.checkpoints is None:
            return
        due = self.checkpoints.late() if over else self.checkpoints.due(clock=self._is_single_process)
        if due or (over and not self._is_single_process):
            self.checkpoint()

    def _epoch(self, fit: Fit) -> Row:
        started, train, done = time.perf_counter(), fit.train, fit.done(self.epoch)
        fit.each("on_epoch_begin", self, self.epoch, len(train))
        for batch in train.epoch(self.epoch, self.batch):
            rates = self._rates(done + batch.number, fit.updates)
            seed = self._step_seed(batch.number)
            loss = self.stepper.step(batch.inputs, batch.labels, rates, seed)
            if not math.isfinite(loss):
                why = diagnosis.of_step(self.stepper, batch, train.split.names, seed, self.distributed)
                raise TrainingError(f"bad numbers in epoch {self.epoch + 1}, batch {batch.number + 1}: {why}")
            fit.losses.append((loss, len(batch.labels)))
            self.batch = batch.number + 1
            fit.each("on_step_end", self, batch.number, loss)
            self._keep(fit)
        self.batch = len(train)
        images = sum(number for _, number in fit.losses)
        mean = math.fsum(loss * number for loss, number in fit.losses) / max(images, 1)
        lr = self._rates(done + len(train) - 1, fit.updates)["head"]
        row: Row = {"epoch": self.epoch + 1, "phase": fit.plan.phase, "lr": lr, "loss": mean, "images": images}
        with fit.watch.anywhere():
            row = self._validated(row, fit.validation, fit.watchers, started)
        self.history.append(row)
        self.epoch, self.batch, fit.losses = self.epoch + 1, 0, []
        return row

    def _rates(self, update: int, total: int) -> dict[str, float]:
        factor = self.schedule.factor(update, total)
        return {block: rate * factor for block, rate in self.rates.items()}

    def _validated(self, row: Row, validation: Loader | None, watchers: Sequence[Callback], started: float) -> Row:
        """The row of an epoch with the metrics of validation and the time."""
        if validation is not None:
            result = evaluation.run(self.model, validation, _metrics(watchers))
            row |= {f"val_{name}": value for name, value in result.metrics.items()}
        row["seconds"] = time.perf_counter() - started
        return self.distributed.gather(row, "end of an epoch")[0]  # one row for all: what they decide by it is the same

    def _fit_estimator(self, data: Data, phase: str) -> History:
        """One pass for the features, then the estimator's own algorithm; the backbone stays as it is."""
        if self.mix:
            raise UsageError(f"mix={self.mix} makes soft labels, which an estimator does not take: leave it out")
        assert self.model.estimator is not None
        started = time.perf_counter()
        train, validation = feeding.loaders(self, data, epochs=1)
        features, labels, _ = train.collect(
            lambda batch: head_inputs(self.model.stage(batch.inputs, "features"), batch.columns), self.epoch
        )
        x, y = features[labels >= 0], labels[labels >= 0]
        fitted = FittedEstimator.fit(self.model.estimator.estimator, x, y, len(self.model.classes))
        fitted = self.distributed.gather(fitted, "fitted head")[0]
        self.model.estimator, self.skipped = fitted, list(train.skipped)
        self.epoch += 1
        loss = classification_metrics(fitted.logits(x), y, ["loss"])["loss"]
        row: Row = {"epoch": self.epoch, "phase": phase or "estimator", "loss": loss, "images": len(labels)}
        row = self._validated(row, validation, self.callbacks, started)
        self.history.append(row)
        for callback in self.callbacks:
            callback.on_epoch_end(self, row)
        return History([row])

    def _watchers(self, *, validated: bool) -> list[Callback]:
        """The callbacks of one fit; without validation, metrics are those of training."""
        monitor = self.monitor if validated else "loss"
        watchers = list(self.callbacks)
        if self.early_stopping is not None:
            watchers.append(EarlyStopping(self.early_stopping, monitor))
        if self.restore_best:
            watchers.append(BestWeights(monitor))
        return watchers

    def _step_seed(self, batch: int) -> int:
        return zlib.crc32(f"{self.seed} {self.epoch} {batch}".encode())


def _metrics(watchers: Sequence[Callback]) -> list[str]:
    """What to compute in validation: the metrics of every epoch, and those that someone watches."""
    watched = (callback.metric() for callback in watchers if isinstance(callback, MetricMonitor))
    return list(dict.fromkeys([*EPOCH_METRICS, *(name for name in watched if name is not None)]))
