"""The Ray cluster that a job runs on, and how it is shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from xfer.errors import UsageError
from xfer.runtime.paths import expanded
from xfer.runtime.progress import step
from xfer.runtime.remote import is_remote
from xfer.workflows.opening import weights_elsewhere

PIP = 'pip install "xfer-learn[ray]"'


@contextmanager
def connected(processes: int, *, log: bool = False) -> Iterator[Any]:
    """Ray, connected to the cluster that `RAY_ADDRESS` names, else to one of this machine that ends with the context.

    Args:
        processes: how many the job is to have.
        log: whether stderr shows what workers print.

    Yields:
        The module `ray`.

    Raises:
        UsageError: Ray is not installed, or there are no processes.
    """
    if processes < 1:
        raise UsageError(f"processes={processes}: give at least 1")
    try:
        import ray
    except ImportError:
        raise UsageError(f'launcher "ray" needs Ray: {PIP}') from None
    ours = not ray.is_initialized()
    if ours:
        with step("starting Ray"):
            ray.init(log_to_driver=log)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def share(processes: int, device: str) -> dict[str, float]:
    """The CPUs and GPUs of each process, as the options of a Ray actor.

    CPUs are shared so that all processes find room at the same time, each on one machine; a GPU each where there are
    enough of them.

    Args:
        processes: of the job.
        device: as in the settings of a run; "cpu" takes no GPU.
    """
    import ray

    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    gpus = device != "cpu" and ray.cluster_resources().get("GPU", 0) >= processes
    return {"num_cpus": cpus_each(cpus, processes), "num_gpus": int(gpus)}


def cpus_each(machines: Sequence[int], processes: int) -> int:
    """The most CPUs that each of so many processes can have on machines with so many; at least one."""
    fitting = (n for n in range(max(machines, default=1), 1, -1) if sum(cpus // n for cpus in machines) >= processes)
    return next(fitting, 1)


def shared_paths(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The settings with absolute paths in the place of relative ones: a worker has another working directory.

    Args:
        settings: of a run. Its weights may be a file.
        names: of the options that are paths or URLs, whether or not there is something.
    """
    found = dict(settings)
    for name in names:
        if found.get(name) not in (None, "digits") and not is_remote(found[name]):
            found[name] = str(expanded(found[name]).absolute())
    if found.get("weights") is not None:
        found["weights"] = weights_elsewhere(found["weights"])
    return found
