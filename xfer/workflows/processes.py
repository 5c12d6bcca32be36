"""A run in several processes of this machine, which it starts itself."""

from __future__ import annotations

from xfer.checkpoints.store import run_folder
from xfer.errors import UsageError
from xfer.models.factory import load
from xfer.runtime.distributed import launch_environment
from xfer.runtime.launching import launch
from xfer.specs.settings import RunSettings
from xfer.workflows.results import Result, recorded
from xfer.workflows.setup import passes, read_data


def starts_processes(config: RunSettings) -> bool:
    """Whether a run is to start its processes: it has several, and this process is none of them.

    Raises:
        UsageError: a launcher has started another number.
    """
    size = launch_environment().size
    if config.processes not in (1, size) and size > 1:
        raise UsageError(
            f"processes={config.processes}, but a launcher has started {size} (WORLD_SIZE): leave processes out"
        )
    return config.processes > 1 and size == 1


def train_in_processes(config: RunSettings, *, progress: bool, resume: bool) -> Result:
    """Make a run in `config.processes` processes, and read it back; see `xfer.workflows.run.train`.

    The evaluation is made once more in this process, of the model that was saved.
    """
    job = {"do": "train", "config": config.document(), "progress": progress, "resume": resume}
    launch("xfer.workflows.worker", job, config.processes, silent=True)
    model, data = load(config.out, backend=config.backend, device=config.device), read_data(config)
    evaluation = model.evaluate(data, **passes(config))
    test = None if data.test is None else model.evaluate(data, split="test", **passes(config))
    return Result(model, evaluation, recorded(config.out) or {}, run_folder(config.out), test, data.judged)
