"""What `xfer.record` costs: three training steps of ResNet-50 with and without it, and the size of the trace.

    python benchmarks/recording.py [--frameworks torch,keras] [--batch 16] [--size 224] [--out FOLDER] [--json out.json]

A step before them, which is not timed, loads kernels and compiles; each framework in a process of its own, both kinds
of run in turns, three times: the shortest of each counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from harness import Apart, write

STEPS, REPEATS = 3, 3


def batches(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, with labels."""
    rng = np.random.default_rng(0)
    count = STEPS * batch
    return rng.normal(size=(count, size, size, 3)).astype("float32"), rng.integers(0, 1000, count)


def torch_run(images: np.ndarray, labels: np.ndarray, batch: int, out: Path | None) -> tuple[float, list[float]]:
    """Seconds of the steps, and their losses, in a plain loop."""
    import torch
    import torchvision

    import xfer

    torch.manual_seed(0)
    model = torchvision.models.resnet50()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    loss_of = torch.nn.CrossEntropyLoss()

    def step(i: int) -> tuple[Any, Any, Any]:
        x = torch.from_numpy(images[i * batch : (i + 1) * batch]).permute(0, 3, 1, 2)
        y = torch.from_numpy(labels[i * batch : (i + 1) * batch])
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return x, y, loss

    step(0)
    losses, started = [], time.perf_counter()
    with nullcontext() if out is None else xfer.record(model, optimizer, out) as recorder:
        for i in range(STEPS):
            x, y, loss = step(i)
            losses.append(loss.item())
            if recorder is not None:
                recorder.step(x, y, loss)
    return time.perf_counter() - started, losses


def keras_run(images: np.ndarray, labels: np.ndarray, batch: int, out: Path | None) -> tuple[float, list[float]]:
    """The same with `fit`."""
    import keras

    import xfer

    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, input_shape=images.shape[1:])
    rule = keras.optimizers.SGD(1e-3, momentum=0.9)
    model.compile(rule, "sparse_categorical_crossentropy", jit_compile=False)  # XLA takes minutes to compile it
    losses: list[float] = []
    ended: list[float] = []
    began: list[float] = []

    def note(_: int, logs: dict[str, Any]) -> None:
        losses.append(float(logs["loss"]))
        ended.append(time.perf_counter())

    # The steps alone: when `fit` ends, tf.data waits for a thread of its own, for up to ten seconds.
    seen = keras.callbacks.LambdaCallback(
        on_train_begin=lambda _: began.append(time.perf_counter()), on_train_batch_end=note
    )

    def fit(count: int) -> None:
        model.fit(images[:count], labels[:count], batch_size=batch, shuffle=False, verbose=0, callbacks=[seen])

    fit(batch)
    losses.clear()
    with nullcontext() if out is None else xfer.record(model, out=out):
        fit(STEPS * batch)
    return ended[-1] - began[-1], losses


def measure(framework: str, batch: int, size: int, folder: Path | None) -> Callable[[], dict[str, Any]]:
    """Both runs of a framework."""

    def run() -> dict[str, Any]:
        make = torch_run if framework == "torch" else keras_run
        images, labels = batches(batch, size)
        with tempfile.TemporaryDirectory() as temporary:
            out = (folder or Path(temporary)) / framework
            runs = [make(images, labels, batch, where) for _ in range(REPEATS) for where in (None, out)]
            written = sum(path.stat().st_size for path in out.iterdir())
        plain, recorded = (min(seconds for seconds, _ in runs[i::2]) for i in (0, 1))
        same = all(losses == runs[0][1] for _, losses in runs)
        return {"plain": plain, "recorded": recorded, "bytes": written, "same": same}

    return run


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frameworks", default="torch,keras")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--out", type=Path, help="keep the traces here")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    rows, details = [], {}
    for framework in given.frameworks.split(","):
        apart = Apart(measure, framework, given.batch, given.size, given.out)
        found = apart()
        apart.close()
        details[framework] = found
        rows.append(
            {
                "framework": framework,
                "three steps": f"{found['plain']:.1f} s",
                "recorded": f"{found['recorded']:.1f} s",
                "ratio": f"{found['recorded'] / found['plain']:.2f}",
                "trace": f"{found['bytes'] / 1e9:.2f} GB",
                "same losses": found["same"],
            }
        )
    print(write("Recording three steps of ResNet-50", rows, given.json, given.md, details=details))


if __name__ == "__main__":
    main()
