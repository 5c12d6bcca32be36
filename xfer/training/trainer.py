"""The trainer: what is trained, by which update rule, and from which position."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from xfer.checkpoints.fit_progress import FitProgress
from xfer.checkpoints.manifest import FitPlan, TrainingState
from xfer.checkpoints.rotation import Checkpoints
from xfer.data import Data, Skipped
from xfer.data import load as load_data
from xfer.errors import UsageError
from xfer.features.cache import CacheUse, FeatureCache
from xfer.models.backend import Backend, get_backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.models.stepper import Stepper
from xfer.models.wrap import restore
from xfer.runtime import agreement
from xfer.runtime.paths import expanded
from xfer.runtime.progress import show_progress
from xfer.specs.loss import LossSpec
from xfer.specs.option import takes_settings
from xfer.specs.rates import Rates
from xfer.specs.tasks import losses
from xfer.specs.training_settings import TrainingSettings
from xfer.training import loaders, loop
from xfer.training.callback import Callback
from xfer.training.estimator_fit import fit_estimator
from xfer.training.fit_state import Fit
from xfer.training.history import History
from xfer.training.monitor import monitors
from xfer.training.notebook import progress_callback
from xfer.training.opening import check_fine_tune, check_settings, open_run, prepare_fit
from xfer.training.position import go_on_from, training_state, write_position
from xfer.training.range_test import HIGH, LOW, UPDATES, RangeTest, check_rates, find_lr
from xfer.training.rates import fine_tuning_rates, rates_of
from xfer.training.trackers import trackers


@takes_settings(TrainingSettings)
class Trainer:
    """Trains a model; the state of the optimizer lasts from fit to fit.

    The processes that a launcher has started share every batch and end with the weights of a run in one process,
    except for dropout, which each draws for its own images. The main process alone writes and shows progress.

    A last batch of one image is left out if the epoch has others, because batch statistics of one image are undefined.

    Args:
        model: the model; what is not frozen in it is trained.
        settings: all settings below as one object; the options that are given replace single ones.
        loss: "cross-entropy", "focal" or "logit-adjusted", or a `LossSpec`. With several tasks, each task has its own.
            Class weights and priors that depend on the data are counted on the training split of the first fit.
        callbacks: further `xfer.callbacks.Callback` objects.
        checkpoints: where to save the run while it trains: a folder, or `xfer.Checkpoints`, which says how often.
            Ctrl-C and SIGTERM then end a fit after the current update, with one more checkpoint. None saves nothing.
        progress: show progress on stderr: a line for each epoch, and a bar in a terminal, or a line a minute in a log.
        cache: see below; also a path or a `FeatureCache`. Cached are outputs for validation images, and for training
            images in two epochs or more without augmentation and mixing.
        options: settings by name, where `optimizer` and `schedule` may also be an `OptimizerSpec` and a `Schedule`,
            `augment` and `mix` an `Augment` and a `Mix`:
        <settings>

    Attributes:
        settings: the settings. history: one row for each epoch of all fits.
        skipped: unreadable training images of the last fit. rates: learning rate of each block, before the schedule.
        epoch, batch: the position: the next batch to train on.
        distributed: the processes of the run. plan: the fit that is under way or was interrupted, if any.
        auto_lr: with lr="auto" the rate found for the head, and "auto" before, when `rates` are ratios; else None.
        cached: what the cache was used for in the last fit. saved: the checkpoint written or resumed from last.
        extra: further JSON values that each checkpoint stores. stop: end the fit after the epoch.
    """

    settings_type: ClassVar[type[TrainingSettings]] = TrainingSettings

    def __init__(
        self,
        model: BaseModel,
        *,
        settings: TrainingSettings | None = None,
        loss: LossSpec | str | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoints: str | Path | Checkpoints | None = None,
        progress: bool = True,
        cache: bool | str | Path | FeatureCache | None = None,
        **options: Any,
    ) -> None:
        if isinstance(loss, str):
            options["loss"] = loss
        if isinstance(cache, bool):
            options["cache"] = cache
        given = {} if settings is None else settings.part(self.settings_type)
        self.settings = self.settings_type.from_arguments(given, options)
        if model.spec.tasks and loss is not None:
            raise UsageError("loss is given for a model with several tasks: give each Task its own")
        check_settings(self.settings)
        self.model, self.distributed = model, model.backend.distributed_context(model.spec.device)
        lr = self.settings.lr
        self.auto_lr: float | Literal["auto"] | None = "auto" if lr == "auto" else None
        self.rates = self.base_rates = rates_of(model, 1.0 if lr == "auto" else lr, self.settings)
        self.schedule, self.batch_size = self.settings.schedule_spec, self.settings.images_per_pass
        self._stepper: Stepper | None = None
        self._counts = self.settings.needs_counts and not (model.spec.tasks or isinstance(loss, LossSpec))
        self._counted: tuple[str, ...] = ()
        if model.spec.tasks:
            self._set_loss(losses(model.spec.tasks))
        elif isinstance(loss, LossSpec):
            self._set_loss(loss)
        elif not self._counts:
            self._set_loss(self.settings.loss_spec({}))
        self._shown = progress and self.distributed.rank == 0
        self.callbacks = [*callbacks, *trackers(self.settings.track), *([progress_callback()] * self._shown)]
        self.cache = FeatureCache.of(self.settings.cache if cache is None else cache)
        self.cached: CacheUse | None = None
        self.checkpoints = Checkpoints(checkpoints) if isinstance(checkpoints, (str, Path)) else checkpoints
        self.history, self.extra = History(), dict[str, Any]()
        self.skipped: list[Skipped] = []
        self.epoch, self.batch, self.stop = 0, 0, False
        self._fit: Fit | None = None
        self._restored: FitProgress | None = None
        self.saved: Path | None = None
        self.plan: FitPlan | None = None

    @classmethod
    def resume(
        cls,
        run: str | Path,
        *,
        model: BaseModel | None = None,
        backend: str | Backend | None = None,
        device: str = "auto",
        compile: bool = False,
        deterministic: bool | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoints: str | Path | Checkpoints | None = None,
        progress: bool = True,
        cache: bool | str | Path | FeatureCache | None = None,
        **options: Any,
    ) -> Self:
        """A trainer at the position of the one that saved `run`, on the same backend or another.

        Weights, freeze plan, optimizer state, settings, rates, the position in the data and the state of callbacks come
        from the run. `fit(data)` without epochs then finishes the fit that was interrupted. With the same versions,
        device and number of threads the result is bitwise that of a run without the interruption.

        Args:
            run: a folder that `save` wrote; or one with checkpoints, of which the newest undamaged one is taken.
            model: of a run of a network of your own: what `xfer.wrap(network, ..., weights=run)` makes.
            backend, device, compile, deterministic: as in `xfer.load`.
            callbacks, checkpoints, progress, cache: as in `Trainer`.
            options: settings that replace those of the run: `workers`, `image_memory`, `on_bad`, `early_stopping`,
                `monitor`, `restore_best`, `swa`.

        Raises:
            CheckpointError: the run is damaged, or has no training state. UsageError: a setting that a run keeps.
        """
        opened, state, stored = open_run(run, cls.settings_type, options)
        if model is None:
            model = load(opened.path, backend=backend, device=device, compile=compile, deterministic=deterministic)
        else:
            restore(model, opened)
        loss = None if state.loss.tasks else state.loss
        options |= {"callbacks": callbacks, "checkpoints": checkpoints, "progress": progress, "cache": cache}
        trainer = cls(model, settings=stored, loss=loss, **options)
        trainer._restored = go_on_from(trainer, opened, state)
        return trainer

    def __repr__(self) -> str:
        return f"Trainer({self.model.name} on {self.model.backend.name}, {self.epoch} epochs done; {self.settings!r})"

    @property
    def stepper(self) -> Stepper:
        """What makes the updates.

        Raises:
            UsageError: the loss depends on the numbers of images of the classes, and no data has been seen yet.
        """
        if self._stepper is None:
            raise UsageError("the loss depends on the class counts of the data: call fit(data) first")
        return self._stepper

    def fit(self, data: Any, epochs: int | None = None, *, lr: Rates | None = None, phase: str = "") -> History:
        """Train for `epochs` more epochs and validate after each.

        The schedule runs over the updates of this fit. An interrupted fit continues exactly, for sampling, order and
        augmentation depend on (seed, epoch, index) alone.

        Args:
            data: a `Data`, or whatever `xfer.data.load` takes; its classes must be the model's, matched by name.
            epochs: how many, at least 1; None finishes the fit that was interrupted. A head that is an estimator is
                fitted once, whatever is given.
            lr: replaces the trainer's rates from now on. phase: a word for the history.

        Returns:
            The rows of these epochs; `history` has all.

        Raises:
            UsageError: nothing is trainable. DataError: data that does not fit, or cannot be read with on_bad="raise".
            TrainingError: a loss or gradients are not finite; weights and optimizer state are those before the step.
            NumbersError: predictions are not finite. DistributedError: another process has ended. CheckpointError: one
            cannot be written; the one before stays. Interrupted: by Ctrl-C or SIGTERM, with a checkpoint.
        """
        prepare_fit(self.model, self.settings, self.plan, epochs)
        with show_progress(self._shown):
            return self._fit_on(load_data(data), epochs, lr, phase)

    def find_lr(self, data: Any, *, updates: int = UPDATES, low: float = LOW, high: float = HIGH) -> RangeTest:
        """The learning-rate range test of lr="auto" by itself; model and trainer stay exactly as they are.

        Args:
            data: see `fit`. updates: how many, at least 10; the test ends earlier where the loss diverges.
            low, high: rates of the first update and of the last; of the head, where rates differ by block.

        Raises:
            UsageError: nothing is trainable, or the head is an estimator. TrainingError: the first loss is not finite.
        """
        check_rates(self.model, self.settings, updates, low, high)
        with show_progress(self._shown):
            self._count(source := load_data(data))
            return find_lr(self, source, updates, low, high)

    def _fit_on(self, source: Data, epochs: int | None, lr: Rates | None, phase: str) -> History:
        self._count(source)
        if self.model.estimator is not None:
            return fit_estimator(self, source, phase)
        if lr is not None:
            self.rates = self.base_rates = rates_of(self.model, lr, self.settings)
            self.auto_lr = None
        train, validation = loaders.loaders(self, source, epochs)
        if epochs is not None:
            self.batch, self.plan, self._restored = 0, FitPlan(self.epoch, epochs, phase), None
        assert self.plan is not None
        callbacks = [*monitors(self.settings, validated=validation is not None), *self.callbacks]  # which may save
        late = None if self.checkpoints is None else self.checkpoints.late
        watch = agreement.watch(self.distributed.size, active=late is not None, late=late)
        with self.checkpoints or nullcontext(), watch:
            fit = Fit(self.plan, train, validation, callbacks, watch)
            try:
                fit.begin(self)
                before, self._fit, self._restored = self._restored or FitProgress(), fit, None
                return loop.run(self, fit, before)
            finally:
                self.skipped = list(train.skipped)
                self._restored, self._fit = None if self.plan is None else self._progress(), None
                fit.each("on_fit_end", self)

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
            head_epochs, epochs: of the first phase, 0 to leave it out, and of the second.
            unfreeze: how many blocks below the head to train in the second phase.
            lr: rates of the second phase; see `lower_rates` for the default (Howard & Ruder 2018).
            train_norm: train the backbone's batch normalisation as well, instead of keeping its statistics.

        Returns:
            The rows of both phases.
        """
        check_fine_tune(self.model, head_epochs, epochs)
        rows, self.rates = History(), self.base_rates
        if head_epochs:
            self.model.freeze()
            rows = self.fit(data, head_epochs, phase="head")
        self.model.unfreeze(last=unfreeze)
        if not train_norm:
            self.model.freezer.freeze_norm()
        self.rates = self.lower_rates() if lr is None else rates_of(self.model, lr, self.settings)
        if lr is not None and self.auto_lr == "auto":  # nothing is left to be found
            self.base_rates, self.auto_lr = self.rates, None
        return History([*rows, *self.fit(data, epochs, phase="fine-tune")])

    def lower_rates(self) -> dict[str, float]:
        """A tenth of the head's rate for the head, and less below it; not of rates so lowered."""
        return fine_tuning_rates(self.model, self.base_rates["head"] / 10, self.settings)

    def rates_at(self, update: int, updates: int) -> dict[str, float]:
        """Learning rates by block at an update (0-based) of a fit of so many updates."""
        factor = self.schedule.factor(update, updates)
        return {block: rate * factor for block, rate in self.rates.items()}

    def save(self, path: str | Path) -> Path:
        """Write a checkpoint with the optimizer's state and the position, and the history beside it.

        In a run of several processes call it in all of them: the main process writes, the others wait.
        """
        folder = expanded(path)

        def write() -> None:
            self._write(folder)
            self.history.write(folder)

        self.distributed.on_main_process(write, "save")
        self.saved = folder
        return folder

    def checkpoint(self) -> Path | None:
        """Save into `checkpoints` now; nothing where there are none.

        Raises:
            CheckpointError: it cannot be written; the one before stays.
        """
        if self.checkpoints is not None:
            where, written = self.checkpoints, list[Path]()
            self.distributed.on_main_process(lambda: written.append(where.write(self._write)), "checkpoint")
            self.saved = written[0] if written else where.folder
        return self.saved if self.checkpoints else None

    def state(self) -> TrainingState:
        """The settings and the position, as a checkpoint stores them."""
        return training_state(self)

    def _count(self, data: Data) -> None:
        if self._counts and self._counted != self.model.classes:
            counts, self._counted = data.train.counts(), self.model.classes
            self._set_loss(self.settings.loss_spec({name: counts.get(name, 0) for name in self.model.classes}))

    def _set_loss(self, loss: LossSpec) -> None:
        update = self.settings.update_spec(loss, self.model.spec.numerics)
        if self._stepper is None:
            self._stepper = get_backend(self.model.backend).stepper(self.model, update)
        self._stepper.update = update  # the state of the optimizer stays

    def _write(self, folder: Path) -> None:
        write_position(self, folder, self._progress())

    def _progress(self) -> FitProgress:
        if self._fit is not None:
            return self._fit.progress(self.history, stop=self.stop)
        if self._restored is not None:  # nothing has happened since
            return self._restored
        return FitProgress(tuple(self.history), skipped=tuple((b.name, b.reason, b.imputed) for b in self.skipped))
