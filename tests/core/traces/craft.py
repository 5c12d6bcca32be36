"""Traces without a framework: a linear classifier of small images, trained by SGD in NumPy."""

import numpy as np
from scipy.special import log_softmax

from xfer.traces.trace import Group, Layer, StepNotes, TraceNotes, write_notes, write_step

CLASSES = 3
DEFAULTS = {
    "seed": 0,
    "rate": 0.1,
    "momentum": 0.9,
    "nesterov": False,
    "decay": 0.0,
    "smoothing": 0.0,
    "reduction": "mean",
    "start": 1,
    "clip": None,
}


def craft(folder, change=lambda x, y: (x, y), raw=False, **options):
    """A trace of three steps in PyTorch's terms; `change` takes and gives images (8, 3, 16, 16) and labels."""
    o = DEFAULTS | options
    folder.mkdir()
    images = np.random.default_rng(o["seed"])
    weights = np.random.default_rng(o["start"]).normal(size=(CLASSES, 3 * 16 * 16)) * 0.01
    bias = np.zeros(CLASSES)
    slots = {"weight": np.zeros_like(weights), "bias": np.zeros_like(bias)}
    notes = []
    for i in range(3):
        x, y = change(pictures(images), images.integers(0, CLASSES, 8))
        flat = x.reshape(8, -1)
        logits = flat @ weights.T + bias
        target = (1 - o["smoothing"]) * np.eye(CLASSES)[y] + o["smoothing"] / CLASSES
        each = -(target * log_softmax(logits, 1)).sum(1)
        divisor = 8 if o["reduction"] == "mean" else 1
        slope = (np.exp(log_softmax(logits, 1)) - target) / divisor
        gradients = {"weight": slope.T @ flat, "bias": slope.sum(0)}
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        factor = 1.0 if o["clip"] is None else min(1.0, o["clip"] / norm)
        arrays = {"batch/images": x, "batch/labels": y, "batch/output/0": logits}
        arrays |= {"out/flatten": flat, "out/fc": logits, "before/fc.weight": weights, "before/fc.bias": bias}
        arrays |= {f"before/momentum_buffer@fc.{n}": s for n, s in slots.items()}
        arrays |= {f"gradient/fc.{n}": g for n, g in gradients.items()}
        if factor < 1:
            arrays |= {f"applied/fc.{n}": g * factor for n, g in gradients.items()}
        state = {"weight": weights, "bias": bias}
        for name, g in gradients.items():
            g = g * factor + o["decay"] * state[name]
            slots[name] = g if i == 0 else o["momentum"] * slots[name] + g
            state[name] = state[name] - o["rate"] * (g + o["momentum"] * slots[name] if o["nesterov"] else slots[name])
        weights, bias = state["weight"], state["bias"]
        arrays |= {"after/fc.weight": weights, "after/fc.bias": bias}
        arrays |= {f"after/momentum_buffer@fc.{n}": s for n, s in slots.items()}
        if raw:
            arrays |= raw(i)
        write_step(folder, i, arrays)
        loss = float(each.sum() / divisor)
        notes.append(StepNotes(loss=loss, rates=[o["rate"]], count=i, training={"fc": True}))
    names = {"weight": "fc.weight", "bias": "fc.bias"}
    settings = {"momentum": o["momentum"], "nesterov": o["nesterov"], "weight_decay": o["decay"], "dampening": 0}
    write_notes(
        folder,
        TraceNotes(
            framework="torch",
            versions={},
            channels="first",
            roundoff=2.0**-53,
            layers=[
                Layer("flatten", "flatten", {"order": "first"}, "Flatten", {}, ["batch/images"], "out/flatten"),
                Layer("fc", "dense", {}, "Linear", names, ["out/flatten"], "out/fc"),
            ],
            trainable=list(names.values()),
            optimizer="SGD",
            groups=[Group(list(names.values()), settings)],
            loss={},
            classes=["ant", "bee", "cat"],
            samples=2,
            steps=notes,
        ),
    )
    return folder


def pictures(rng):
    """Images that are smooth, each with its own colours."""
    coarse = rng.normal(size=(8, 3, 4, 4)) + rng.normal(size=(8, 3, 1, 1)) + np.array([1.0, 0.0, -0.5]).reshape(3, 1, 1)
    return np.repeat(np.repeat(coarse, 4, 2), 4, 3) + 0.3 * rng.normal(size=(8, 3, 16, 16))
