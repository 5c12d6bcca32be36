"""Training in processes that Ray starts, on one machine or on the machines of a cluster."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from xfer.errors import UsageError, XferError
from xfer.runtime.progress import step
from xfer.specs.settings import RunSettings
from xfer.workflows.run import train


def train_on_ray(config: RunSettings, processes: int, *, resume: bool = False) -> Path:
    """Make one run in several workers of Ray Train; each shares every batch, and the first writes.

    The cluster is the one that `RAY_ADDRESS` names, else one that begins and ends with this process. Every machine
    needs xfer and the framework, and the data and `out` under the same paths.

    Args:
        config: as of a run in one process; `batch_size` is that of all workers together.
        processes: how many; more than one needs a backend that trains in several, which is torch.
        resume: as in `xfer.workflows.run.train`.

    Returns:
        The folder of the run.

    Raises:
        UsageError: no Ray, or no workers. XferError: what ended a worker, in its own words.
    """
    if processes < 1:
        raise UsageError(f"processes={processes}: give at least 1")
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError
    except ImportError:
        raise UsageError('launcher "ray" needs Ray Train: pip install "xfer-learn[ray]"') from None
    data = config.data if config.data == "digits" else str(Path(config.data).absolute())
    settings = config.model_copy(update={"data": data, "out": str(Path(config.out).absolute())}).model_dump(mode="json")
    ours = not ray.is_initialized()
    if ours:
        with step("starting Ray"):
            ray.init()
    gpus = config.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= processes
    try:
        with tempfile.TemporaryDirectory() as storage:  # of Ray; the run is written by its first process
            DataParallelTrainer(
                _work,
                train_loop_config={"settings": settings, "own_gpu": gpus, "resume": resume},
                scaling_config=ScalingConfig(num_workers=processes, use_gpu=gpus),
                run_config=RunConfig(storage_path=storage),
            ).fit()
    except TrainingFailedError as error:
        raise XferError(_reason(error)) from None
    finally:
        if ours:
            ray.shutdown()
    return Path(settings["out"])


def _work(job: dict[str, Any]) -> None:
    """One process of the run: what torchrun says in the environment is said there, then it is a run like any other."""
    from ray.train import get_context
    from ray.train.collective import broadcast_from_rank_zero

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
    train(config, progress=context.get_world_rank() == 0, resume=job["resume"])


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
