"""A step of full fine-tuning: ours against a loop written by hand in the same configuration.

    python benchmarks/training_step.py [--model resnet50] [--precision fp32,bf16] [--batch 16] [--rounds 20]
                                       [--backends torch,tensorflow] [--device cpu] [--json out.json] [--md out.md]

Both sides train every tensor of the same architecture with AdamW on the same uint8 images, normalise them on the
device, compute in the same precision and layout, and read the loss once. In torch the side written by hand has
channels_last, autocast, and malloc set up as xfer does; in TensorFlow it is a `tf.function` with a gradient tape and
Keras's own AdamW on the same Keras network. They take turns step by step in one process; peak memory is that of a
process each.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from harness import Apart, interleave, ratio, write

STEPS_FOR_MEMORY = 3
Step = Callable[[], float]


def batch(number: int, size: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels that both sides train on."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (number, size, size, 3), dtype=np.uint8)
    return images, rng.integers(0, classes, number)


def ours(backend: str, model: str, precision: str, number: int, device: str) -> Step:
    """One call of xfer's stepper."""
    import xfer
    from xfer.specs.loss import LossSpec
    from xfer.specs.optimizer import OptimizerSpec
    from xfer.specs.rates import block_rates
    from xfer.specs.update import UpdateSpec

    network = xfer.load(
        model, backend=backend, weights=None, classes=10, precision=precision, dropout=False, device=device
    )
    images, labels = batch(number, network.spec.preprocessing.size, 10)
    stepper = network.backend.stepper(network, UpdateSpec(OptimizerSpec("adamw"), LossSpec()))
    rates = block_rates(1e-4, network.blocks)

    def step() -> float:
        return float(stepper.step(images, labels, rates))

    return step


def by_hand_torch(model: str, precision: str, number: int, device: str) -> Step:
    """What an engineer would write in torch."""
    import torch
    import torchvision

    from xfer.runtime.malloc import keep_pages

    keep_pages()
    torch.backends.cudnn.allow_tf32 = False  # float32 on both sides
    images, labels = batch(number, 224, 10)
    network = torchvision.models.get_model(model, num_classes=10).to(device, memory_format=torch.channels_last).train()
    rule = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.01)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)

    def step() -> float:
        x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        y = torch.from_numpy(labels).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
            outputs = network((x.float() / 255 - mean) / std)
        loss = torch.nn.functional.cross_entropy(outputs.float(), y)
        loss.backward()
        rule.step()
        rule.zero_grad(set_to_none=True)
        return loss.item()

    return step


def by_hand_tensorflow(model: str, precision: str, number: int, device: str) -> Step:
    """What an engineer would write in TensorFlow, on the same Keras network."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow as tf

    import xfer

    images, labels = batch(number, 224, 10)
    network: Any = xfer.load(
        model, backend="tensorflow", weights=None, classes=10, precision=precision, dropout=False, device=device
    ).native
    network.trainable = True
    rule = keras.optimizers.AdamW(1e-4, weight_decay=0.01, epsilon=1e-8)
    variables = network.trainable_variables
    rule.build(variables)
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def update(images: Any, labels: Any) -> Any:
        x = (tf.cast(images, tf.float32) / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with tf.GradientTape() as tape:
            loss = crossentropy(labels, tf.cast(network(x, training=True), tf.float32))
        rule.apply(tape.gradient(loss, variables), variables)
        return loss

    def step() -> float:
        return float(update(tf.constant(images), tf.constant(labels)))

    return step


def pair(backend: str, *arguments: Any) -> dict[str, Step]:
    """Both sides in one process."""
    by_hand = by_hand_torch if backend == "torch" else by_hand_tensorflow
    return {"by hand": by_hand(*arguments), "xfer": ours(backend, *arguments)}


def timed(step: Step) -> Step:
    """Seconds of a step."""

    def once() -> float:
        started = time.perf_counter()
        step()
        return time.perf_counter() - started

    return once


def race(backend: str, rounds: int, *arguments: Any) -> Callable[[], dict[str, list[float]]]:
    """Step by step in turn."""
    sides = {name: timed(step) for name, step in pair(backend, *arguments).items()}
    return lambda: interleave(sides, rounds, warmup=3)


def memory(side: str, backend: str, *arguments: Any) -> Callable[[], int]:
    """Peak memory in bytes of a process with one side alone, after a few steps."""

    def once() -> int:
        from xfer.runtime.profiling import peak_memory

        if side == "xfer":
            step = ours(backend, *arguments)
        else:
            step = by_hand_torch(*arguments) if backend == "torch" else by_hand_tensorflow(*arguments)
        for _ in range(STEPS_FOR_MEMORY):
            step()
        return peak_memory()

    return once


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet50", help="one of torchvision's")
    parser.add_argument("--precision", default="fp32,bf16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--backends", default="torch,tensorflow")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    rows, details = [], {}
    for backend in given.backends.split(","):
        for precision in given.precision.split(","):
            arguments = (given.model, precision, given.batch, given.device)
            steps = _is_single_process(race, backend, given.rounds, *arguments)
            peaks = {side: _is_single_process(memory, side, backend, *arguments) for side in ("by hand", "xfer")}
            rows.append(
                {
                    "": f"{backend}, {precision}",
                    "by hand, s": float(np.median(steps["by hand"])),
                    "xfer, s": float(np.median(steps["xfer"])),
                    "xfer / by hand": ratio(steps["xfer"], steps["by hand"]),
                    "peak memory, xfer / by hand": peaks["xfer"] / peaks["by hand"],
                    "xfer, MiB": peaks["xfer"] >> 20,
                }
            )
            details[f"{backend}, {precision}"] = {"seconds": steps, "bytes": peaks}
    title = f"A training step of {given.model}, {given.batch} images"
    print(write(title, rows, given.json, given.md, measured=details))


def _is_single_process(make: Callable[..., Any], *arguments: Any) -> Any:
    process = Apart(make, *arguments)
    try:
        return process()
    finally:
        process.close()


if __name__ == "__main__":
    main()
