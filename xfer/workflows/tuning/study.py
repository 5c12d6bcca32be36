"""Optuna's study in a file: which options a trial has is a pure function of the seed, its number and the trials before.

A trial is written when it is over, as one line of Optuna's journal. So there is none that is half-finished: a search
that was killed goes on with the number at which it ended, and has the options that it would have had.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from xfer.errors import CheckpointError, UsageError
from xfer.runtime.files import folder_lock
from xfer.specs.settings import RunSettings
from xfer.specs.space import Range, Space
from xfer.workflows.results import writable
from xfer.workflows.tuning.result import Trial

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.jsonl"
_NAME = "xfer"
_STUDY = "xfer"  # key of what the study is for
_NOTED = ("number", "state", "seconds", "reason")  # Optuna numbers trials in the order in which they end


class Study:
    """The trials of a search, in a file that Optuna's tools can open.

    Args:
        storage: Optuna's, with the study.
        space: what is searched.
        seed: of the sampler.
        start: options of the first trial, as far as they are in the space.
        prune: whether trials are pruned.
    """

    def __init__(self, storage: Any, space: Space, seed: int, start: Mapping[str, Any], prune: bool) -> None:
        self._storage, self._space, self._seed, self._start, self.prunes = storage, space, seed, start, prune
        self._distributions = {name: _distribution(each) for name, each in space.items()}

    @property
    def _study(self) -> optuna.Study:
        """Optuna's study, loaded anew: one that is kept gives its sampler the trials that it knew at first."""
        import optuna

        return optuna.load_study(study_name=_NAME, storage=self._storage)

    def trials(self) -> tuple[Trial, ...]:
        """All that are over, by number."""
        return tuple(sorted(map(_trial, self._study.get_trials(deepcopy=False)), key=lambda trial: trial.number))

    def left(self, trials: int) -> list[int]:
        """Numbers of the trials that are to be made, if there are to be so many; in parallel, others may have ended."""
        done = {trial.number for trial in self.trials()}
        return [number for number in range(trials) if number not in done]

    def ask(self, number: int) -> dict[str, Any]:
        """The options of a trial: TPE's (Bergstra et al. 2011), from the trials that are over.

        Its random state is made anew from the seed and the number.
        """
        from optuna.samplers import TPESampler

        sampler = TPESampler(seed=zlib.crc32(f"{self._seed} {number}".encode()), multivariate=True, constant_liar=False)
        study, trial = self._study, self._running({})
        found = sampler.sample_relative(study, trial, self._distributions)
        for name, each in self._distributions.items():
            if name not in found:
                found[name] = sampler.sample_independent(study, trial, name, each)
            if number == 0 and (value := self._start.get(name)) in self._space[name]:
                found[name] = value
        return {name: found[name] for name in self._space}

    def hopeless(self, epochs: Mapping[int, float]) -> bool:
        """Whether a trial with these values by epoch is to end: they are worse than the median of others by then."""
        from optuna.pruners import MedianPruner

        return self.prunes and MedianPruner().prune(self._study, self._running(epochs))

    def tell(self, trial: Trial) -> None:
        """Write a trial that is over, in one line."""
        from optuna.trial import TrialState, create_trial

        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if trial.state == "complete" else TrialState.PRUNED,
                value=trial.value,
                params=trial.params,
                distributions=self._distributions,
                intermediate_values=trial.epochs,
                user_attrs={name: getattr(trial, name) for name in _NOTED},
            )
        )

    def importance(self) -> dict[str, float]:
        """Share of the variance that each option explains, the largest first; empty where that cannot be known."""
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        values = {each.value for each in self.trials() if each.state == "complete"}
        if len(values) < 4:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=self._seed)
        return {name: float(share) for name, share in get_param_importances(self._study, evaluator=evaluator).items()}

    def _running(self, epochs: Mapping[int, float]) -> optuna.trial.FrozenTrial:
        from optuna.trial import TrialState, create_trial

        return create_trial(state=TrialState.RUNNING, intermediate_values=dict(epochs))


@contextmanager
def open_study(
    folder: Path, config: RunSettings, space: Space, data: Mapping[str, str], *, higher: bool, prune: bool
) -> Iterator[Study]:
    """The study in a folder, begun or gone on with, for this process alone.

    Args:
        folder: made if need be.
        config: what all trials share. space: what is searched.
        data: fingerprints of the splits.
        higher: whether greater values are better.
        prune: whether trials are pruned.

    Raises:
        UsageError: no Optuna; another process works in the folder; or it holds a search of something else.
        CheckpointError: the file is damaged.
    """
    optuna = _optuna()
    from filelock import Timeout

    lock = folder_lock(writable(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process tunes in {folder}: wait for it, or give another --out") from None
    try:
        path = folder / JOURNAL
        begun = path.exists()
        try:
            storage = _storage(path)
            study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                direction="maximize" if higher else "minimize",
                load_if_exists=True,
            )
            before = study.user_attrs.get(_STUDY)
        except Exception as error:  # whatever Optuna raises on a file that it did not write
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}): remove it to begin again") from None
        known = {"space": {name: str(each) for name, each in space.items()}, "data": dict(data), "prune": prune}
        if begun and before is not None:
            _check_same(folder, config, known, before)
        else:
            study.set_user_attr(_STUDY, {"config": config.document(), **known})
        yield Study(storage, space, config.seed, config.model_dump(), prune)
    finally:
        lock.release()


def _check_same(folder: Path, config: RunSettings, known: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    other = config.changed(before["config"])
    other += [name for name in ("space", "prune", "data") if before[name] != known[name]]
    if other:
        raise UsageError(f"{folder} holds a search with another {', '.join(other)}: give the same, or another --out")


def _storage(path: Path) -> Any:
    """Optuna's journal; what a process that was killed has left half-written is cut off."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with suppress(FileNotFoundError):
        written = path.read_bytes()
        if written and not written.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(written.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=cast(Any, _Held())))


class _Held:
    """In place of Optuna's lock, which would outlast a process that is killed: that of the folder is held already."""

    def acquire(self) -> bool:
        """Nothing to wait for."""
        return True

    def release(self) -> None:
        """Nothing to let go of."""


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError('xfer tune needs Optuna: pip install "xfer-learn[tune]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(each: Any) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(each, Range):
        return CategoricalDistribution(each.values)
    if each.integer:
        return IntDistribution(int(each.low), int(each.high), log=each.log)
    return FloatDistribution(each.low, each.high, log=each.log)


def _trial(found: optuna.trial.FrozenTrial) -> Trial:
    return Trial(
        value=found.value,
        params=dict(found.params),
        epochs=dict(found.intermediate_values),
        **{name: found.user_attrs[name] for name in _NOTED},
    )
