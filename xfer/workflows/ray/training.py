"""Training in processes that Ray starts, on one machine or on the machines of a cluster."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

from xfer.checkpoints.store import has_checkpoints
from xfer.errors import DistributedError, UsageError, XferError
from xfer.specs.settings import RunSettings
from xfer.workflows.ray.cluster import PIP, connected, shared_paths
from xfer.workflows.ray.pool import RESTARTS
from xfer.workflows.results import metrics_digest
from xfer.workflows.run import train


def train_on_ray(config: RunSettings, processes: int, *, resume: bool = False, restarts: int = RESTARTS) -> str:
    """Make one run in several workers of Ray Train; each shares every batch, and the first writes.

    The cluster is the one that `RAY_ADDRESS` names, else one that begins and ends with this process. Every machine
    needs xfer and the framework, and the data and `out` under the same paths or URLs. When a worker or its machine is
    lost, all begin again from the last checkpoint in `out`.

    Args:
        config: as of a run in one process; `batch_size` is that of all workers together.
        processes: how many.
        resume: as in `xfer.workflows.run.train`.
        restarts: how often workers begin again after a loss. What a worker refuses is not tried again.

    Returns:
        The folder or URL of the run.

    Raises:
        UsageError: no Ray, or no workers. XferError: what ended a worker, in its own words.
    """
    if restarts < 0:
        raise UsageError(f"restarts={restarts}: give 0 or more")
    settings = shared_paths(config.document() | {"processes": processes}, "data", "out", "corrections")
    with connected(processes, log=True) as ray, tempfile.TemporaryDirectory() as storage:  # the storage is Ray's own
        try:
            from ray.train import FailureConfig, RunConfig, ScalingConfig
            from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
            from ray.train.v2.api.exceptions import TrainingFailedError
        except ImportError:
            raise UsageError(f'launcher "ray" needs Ray Train: {PIP}') from None
        gpus = config.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= processes
        refusal = _beside_this_process(ray)
        job = {
            "settings": settings,
            "own_gpu": gpus,
            "resume": resume,
            "refusal": refusal,
            "before": metrics_digest(settings["out"]),
        }
        try:
            DataParallelTrainer(
                _work,
                train_loop_config=job,
                scaling_config=ScalingConfig(num_workers=processes, use_gpu=gpus),
                run_config=RunConfig(storage_path=storage, failure_config=FailureConfig(max_failures=restarts)),
            ).fit()
        except TrainingFailedError as error:
            raise ray.get(refusal.said.remote()) or XferError(_reason(error)) from None
        if (said := ray.get(refusal.said.remote())) is not None:
            raise said
    return str(settings["out"])


class _Refusal:
    """What a worker has refused, for all workers and for who has started them."""

    def __init__(self) -> None:
        self._error: XferError | None = None

    def say(self, error: XferError) -> None:
        self._error = self._error or error

    def said(self) -> XferError | None:
        return self._error


def _beside_this_process(ray: Any) -> Any:
    """The actor of a `_Refusal`, on the machine of this process: it is lost with it, and not before."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Refusal).remote()


def _work(job: dict[str, Any]) -> None:
    """One process of the run: what torchrun says in the environment is said there, then it is a run like any other.

    Ray tries again whatever has raised. So an error of xfer's own is told to all, who then have nothing to do; alone, a
    process does not raise it. One of several does, for the others wait for it until Ray ends them.
    """
    import ray
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero

    if ray.get(job["refusal"].said.remote()) is not None:
        return
    context = get_context()
    host, port = broadcast_from_rank_zero(_meeting_point())
    places = {
        "RANK": context.get_world_rank(),
        "WORLD_SIZE": context.get_world_size(),
        "LOCAL_RANK": 0 if job["own_gpu"] else context.get_local_rank(),  # Ray shows each worker its own GPU alone
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in places.items()})
    config = RunSettings.model_validate(job["settings"])
    if metrics_digest(config.out) != job["before"] and not has_checkpoints(config.out):
        return  # the run was finished before a worker was lost
    try:
        train(config, progress=context.get_world_rank() == 0, resume=job["resume"])
    except DistributedError:
        raise
    except XferError as error:
        ray.get(job["refusal"].say.remote(error))
        if context.get_world_size() > 1:
            raise


def _meeting_point() -> tuple[str, int]:
    """An address of this machine, and a port that is free."""
    import ray

    with socket.socket() as found:
        found.bind(("", 0))
        return ray.util.get_node_ip_address(), found.getsockname()[1]


def _reason(error: Exception) -> str:
    """The line in which a worker said what was wrong, if it did; else Ray's own."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, XferError):
            return str(cause)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"a worker has ended: {lines[-1].strip() if lines else type(error).__name__}"
