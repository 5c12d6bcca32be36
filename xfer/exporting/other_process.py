"""Writing a file on another framework than the model's: in a process of its own, from the model's checkpoint.

usage: python -P -m xfer.exporting.other_process FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from xfer.errors import XferError
from xfer.models.backend import get_backend
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.runtime import environment
from xfer.specs.exported import ExportJob, Output


def write_elsewhere(model: BaseModel, job: ExportJob, backend: str) -> None:
    """Write a file on the backend of that name.

    Raises:
        XferError: what the other process says.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "run")
        for i, array in enumerate(job.calibration):
            np.save(Path(folder) / f"calibration{i}.npy", array)
        plain = asdict(replace(job, calibration=()))
        document = {**plain, "calibration": len(job.calibration), "backend": backend}
        (Path(folder) / "job.json").write_text(json.dumps(document), "utf-8")
        command = [sys.executable, "-P", "-m", "xfer.exporting.other_process", folder]
        done = subprocess.run(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment.of_backend(),
            check=False,
        )
        answer = Path(folder) / "error.txt"
        if answer.exists():
            raise XferError(answer.read_text("utf-8"))
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise XferError(f"the process of backend {backend!r} failed: {said}")


def main(folder: Path) -> None:
    """Do the job; an `XferError` becomes the answer."""
    document = json.loads((folder / "job.json").read_text("utf-8"))
    backend, number = document.pop("backend"), document.pop("calibration")
    arrays = tuple(np.load(folder / f"calibration{i}.npy") for i in range(number))
    outputs = TypeAdapter(tuple[Output, ...]).validate_python(document.pop("outputs"))
    try:
        job = ExportJob(**document, outputs=outputs, calibration=arrays)
        model = load(folder / "run", backend=backend, device="cpu", precision="fp32")
        get_backend(model.backend).export(model, job)
    except XferError as error:
        (folder / "error.txt").write_text(str(error), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
