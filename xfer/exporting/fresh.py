"""The process that opens an exported file: its runtime and NumPy, nothing of xfer.

usage: python -P fresh.py FOLDER

FOLDER/job.json says the path, the code that opens it, what it does without, and the inputs, which lie beside it. The
answers go to FOLDER/outputs.npz, and what else was seen to FOLDER/seen.json.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BATCH, SECONDS = 32, 2.0


def main(folder: Path) -> None:
    """Run all inputs in batches, then one image several times."""
    job = json.loads((folder / "job.json").read_text("utf-8"))
    inputs = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in job["inputs"]}
    for name in job["without"]:  # what the file must do without, even where it is installed
        sys.modules[name] = None  # type: ignore[assignment]
    scope: dict[str, Any] = {"path": job["path"]}
    exec(job["code"], scope)  # the code of `Format.opened_by`
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, job["images"], BATCH):
        batch = {name: np.array(array[start : min(start + BATCH, job["images"])]) for name, array in inputs.items()}
        for name, output in scope["run"](**batch).items():
            found.setdefault(name, []).append(np.asarray(output, np.float64))
    outputs: dict[str, Any] = {name: np.concatenate(parts) for name, parts in found.items()}
    np.savez(folder / "outputs.npz", **outputs)
    one = {name: np.array(array[:1]) for name, array in inputs.items()}
    seen = {
        "version": scope["version"],
        "milliseconds": milliseconds(lambda: scope["run"](**one)),
        "needs_xfer": sys.modules.get("xfer") is not None,
    }
    (folder / "seen.json").write_text(json.dumps(seen), "utf-8")


def milliseconds(call: Any) -> float:
    """The median of some calls after two to warm up."""
    for _ in range(2):
        call()
    taken, end = list[float](), time.perf_counter() + SECONDS
    while len(taken) < 3 or (len(taken) < 50 and time.perf_counter() < end):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return float(np.median(taken))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
