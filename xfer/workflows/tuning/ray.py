"""Trials in parallel, by Ray Tune, on one machine or on a cluster."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xfer.errors import UsageError, XferError
from xfer.runtime import progress
from xfer.specs.settings import RunSettings
from xfer.workflows.ray.cluster import connected, share, shared_paths
from xfer.workflows.setup import read_data
from xfer.workflows.tuning.result import Trial
from xfer.workflows.tuning.study import Study
from xfer.workflows.tuning.trial import run_trial


def run_on_ray(
    study: Study, config: RunSettings, trials: int, processes: int, deadline: float | None, *, higher: bool
) -> list[Trial]:
    """Run trials in workers until there are so many; the study is asked and told by this process alone.

    What a trial is asked for depends on which others have ended, so a second search has other trials. Ray's median
    stopping rule (Golovin et al. 2017) prunes.

    Args:
        study: is asked for options and told of trials.
        config: what all trials share; every machine needs the data under the same path.
        trials: how many there are to be in all.
        processes: how many run at a time.
        deadline: on the clock of `time.monotonic`, after which none begins.
        higher: whether greater values are better.

    Returns:
        The trials that ended here.

    Raises:
        UsageError: no Ray Tune. XferError: what ended a trial, in its own words.
    """
    try:
        from ray import tune
        from ray.tune.schedulers import MedianStoppingRule
        from ray.tune.search import Searcher
    except ImportError:
        raise UsageError('launcher "ray" needs Ray Tune: pip install "xfer-learn[tune,ray]"') from None
    left = study.left(trials)
    mode, ended = "max" if higher else "min", list[Trial]()
    free = iter(left)

    class Asking(Searcher):  # type: ignore[misc]
        """Ray's side of the study."""

        def __init__(self) -> None:
            super().__init__(metric="value", mode=mode)

        def suggest(self, trial_id: str) -> Any:
            late = deadline is not None and time.monotonic() > deadline
            if late or (number := next(free, None)) is None:
                return Searcher.FINISHED
            return {"number": number, "params": study.ask(number)}

        def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
            if error or result is None:
                return
            trial = _trial(result)
            study.tell(trial)
            ended.append(trial)
            report.advance()

        def __reduce__(self) -> Any:
            return type(None), ()  # Ray pickles it to restore a search; the study's own file does that

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the study is in its own file."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing, as `save`."""

    with (
        connected(processes),
        tempfile.TemporaryDirectory() as storage,
        progress.work("tuning", trials, "trials", trials - len(left)) as report,
    ):
        each = share(processes, config.device)
        job = {
            "settings": shared_paths({n: getattr(config, n) for n in config.model_fields_set}, "data", "corrections"),
            "worst": -math.inf if higher else math.inf,
        }
        found = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_work, job=job), {"cpu": each["num_cpus"], "gpu": each["num_gpus"]}
            ),
            tune_config=tune.TuneConfig(
                search_alg=Asking(),
                num_samples=-1,
                max_concurrent_trials=processes,
                scheduler=MedianStoppingRule("epoch", "value", mode, grace_period=1, min_samples_required=5)
                if study.prunes
                else None,
            ),
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
        if found.errors:
            raise XferError(str(found.errors[0]).strip().splitlines()[-1])
    return ended


def _work(given: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    """A trial in a worker, which reports after each epoch what it is worth if Ray ends it there, and at last itself."""
    from ray import tune

    config, started = RunSettings.of(job["settings"]), time.perf_counter()
    number, params = given["number"], given["params"]

    def report(trial: Trial, epoch: int) -> None:
        # As text, because Ray flattens tables.
        text = json.dumps({**asdict(trial), "epochs": list(trial.epochs.items())})
        tune.report({"value": job["worst"] if trial.value is None else trial.value, "epoch": epoch, "trial": text})

    def told(epochs: Mapping[int, float]) -> bool:
        seconds, last = time.perf_counter() - started, max(epochs)
        report(Trial(number, "pruned", epochs[last], params, dict(epochs), seconds), last)
        return False  # Ray ends the worker

    trial = run_trial(number, config, read_data(config), params, told)
    report(trial, max(trial.epochs, default=0) + 1)


def _trial(result: Mapping[str, Any]) -> Trial:
    """What a worker reported last."""
    found = json.loads(result["trial"])
    return Trial(**{**found, "epochs": dict(found["epochs"])})
