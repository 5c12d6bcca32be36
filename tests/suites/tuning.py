"""Small searches: pictures of two classes, the options of their trials, and what two searches must have in common."""

import numpy as np
from PIL import Image

NUMPY = "xfer.testing:NumpyBackend"
OPTIONS = {
    "model": "tiny",
    "weights": "none",
    "backend": NUMPY,
    "image_size": 16,
    "epochs": 2,
    "batch_size": 16,
    "workers": 0,
}


def pictures(folder):
    """Two classes that a head can learn in part: 32 to train on, 16 to validate on, and a test split of no pictures."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 32), ("val", 16)):
        for i in range(number):
            pixels = rng.integers(0, 200, (16, 16, 3))
            pixels[..., i % 2] += rng.integers(0, 40)
            path = folder / split / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    for name in "ab":
        path = folder / "test" / name / "1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture")
    return folder


def alike(trials):
    """Trials of a document without their times."""
    return [{key: value for key, value in trial.items() if key != "seconds"} for trial in trials]
