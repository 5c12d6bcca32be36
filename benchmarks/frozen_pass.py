"""A frozen pass in float32: features of a batch, by xfer and by each framework's own network, on both backends.

    python benchmarks/frozen_pass.py [--models resnet50,vit_b_32,...] [--batch 16] [--rounds 10] [--device cpu]
                                     [--json out.json] [--md out.md]

Noise at 224 pixels, weights drawn. Every side is a process of its own, with malloc set up as the `xfer` command does;
they take turns. In each round a side computes the batch three times, and the fastest counts.

- torch: torchvision's module, or timm's, without its head, in channels_last, under `torch.inference_mode`.
- tensorflow: the plain Keras model of the same network, without its head, called in a `tf.function`.
- xfer: `model.stage(images, "features")`, normalisation of the uint8 images included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from harness import Apart, interleave, ratio, write

MODELS = "resnet50,vit_b_32,swin_t,vit_small_patch14_dinov2"
SIZE, PASSES = 224, 3


def _fastest(once: Callable[[], Any]) -> Callable[[], float]:
    def seconds() -> float:
        found = []
        for _ in range(PASSES):
            started = time.perf_counter()
            once()
            found.append(time.perf_counter() - started)
        return min(found)

    return seconds


def by_xfer(model: str, batch: int, device: str, backend: str) -> Callable[[], float]:
    """Seconds of a batch by xfer."""
    import xfer
    from xfer.runtime.malloc import keep_pages

    keep_pages()
    options: dict[str, Any] = {"weights": None, "classes": 2, "image_size": SIZE, "precision": "fp32"}
    network = xfer.load(model, backend=backend, device=device, **options)
    network.freeze()
    images = np.random.default_rng(0).integers(0, 256, (batch, SIZE, SIZE, 3), np.uint8)
    return _fastest(lambda: network.stage(images, "features"))


def by_torch(model: str, batch: int, device: str) -> Callable[[], float]:
    """Seconds of a batch by torchvision's or timm's module."""
    import torch
    import torchvision

    from xfer.runtime.malloc import keep_pages
    from xfer.zoo import card

    keep_pages()
    if card(model).family == "timm_vit":
        import timm

        network = timm.create_model(model, img_size=SIZE, num_classes=0)
    else:
        network = torchvision.models.get_model(model)
        network.set_submodule(card(model).head, torch.nn.Identity())
    network = network.eval().to(device, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, SIZE, SIZE, device=device).to(memory_format=torch.channels_last)

    def once() -> None:
        with torch.inference_mode():
            network(images).cpu()

    return _fastest(once)


def by_keras(model: str, batch: int, device: str) -> Callable[[], float]:
    """Seconds of a batch by a plain Keras model."""
    import keras
    import tensorflow as tf

    import xfer
    from xfer.runtime.malloc import keep_pages

    keep_pages()
    options: dict[str, Any] = {"weights": None, "classes": 2, "image_size": SIZE, "precision": "fp32"}
    network = xfer.load(model, backend="tensorflow", device=device, **options).native
    plain = keras.Model(network.input, network.layers[-1].input)
    images = tf.random.normal((batch, SIZE, SIZE, 3))
    compiled = tf.function(lambda x: plain(x, training=False))
    return _fastest(lambda: compiled(images).numpy())


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    rows, details = [], {}
    for model in given.models.split(","):
        makers = {
            "torch": (by_torch,),
            "xfer, torch": (by_xfer, "torch"),
            "tensorflow": (by_keras,),
            "xfer, tensorflow": (by_xfer, "tensorflow"),
        }
        sides = {name: Apart(make, model, given.batch, given.device, *more) for name, (make, *more) in makers.items()}
        found = details[model] = interleave(sides, given.rounds)
        for side in sides.values():
            side.close()
        faster = min(("torch", "tensorflow"), key=lambda name: median(found[name]))
        row: dict[str, object] = {"network": model}
        for name in ("torch", "tensorflow"):
            row[f"{name}, images/s"] = given.batch / median(found[name])
            row[f"xfer / {name}"] = ratio(found[f"xfer, {name}"], found[name])
        for name in ("torch", "tensorflow"):
            row[f"xfer, {name} / faster framework"] = ratio(found[f"xfer, {name}"], found[faster])
        rows.append(row)
    print(write(f"Frozen pass, float32, batches of {given.batch}", rows, given.json, given.md, seconds=details))


if __name__ == "__main__":
    main()
