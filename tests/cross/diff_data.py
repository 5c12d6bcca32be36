"""What the scripts of the traces share: images, labels and weights, in files that any framework reads."""

import numpy as np
from PIL import Image, ImageFilter

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = ("ant", "bee", "cat", "dog")


def batches(options, steps=3, size=16):
    """Batches of 8 images (N, H, W, 3) as a network gets them, their labels, and the raw images."""
    rng = np.random.default_rng(1)
    for _ in range(steps):
        raw = [picture(rng) for _ in range(8)]
        labels = rng.integers(0, 4, 8)
        kind = Image.Resampling.NEAREST if options.get("nearest") else Image.Resampling.BILINEAR
        side, at = (size + 4, options.get("crop", 0)) if "crop" in options else (size, 0)
        resized = [np.asarray(Image.fromarray(x).resize((side, side), kind)) for x in raw]
        x = np.stack(resized)[:, at : at + size, at : at + size].astype(np.float64)
        x = x[..., ::-1] if options.get("bgr") else x
        if options.get("mirror"):
            x = x[:, :, ::-1]
        scale = options.get("scale", "imagenet")
        x = {"bytes": x, "unit": x / 255, "signed": x / 127.5 - 1, "imagenet": (x / 255 - MEAN) / STD}[scale]
        if options.get("classes"):
            labels = np.array([2, 0, 3, 1])[labels]
        order = np.random.default_rng(2).permutation(8) if options.get("shuffled") else np.arange(8)
        yield x[order].astype("float32"), labels[order], [raw[i] for i in order]


def picture(rng):
    """Blurred noise in colours that differ, with an edge: what every resampling and channel order changes."""
    noise = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    x = np.asarray(noise).astype(np.float64)
    x = (x - x.mean()) * 4 + [rng.uniform(90, 200), rng.uniform(60, 160), rng.uniform(40, 120)]
    x[: rng.integers(5, 30), : rng.integers(5, 30)] *= 0.4
    return np.clip(x, 0, 255).astype(np.uint8)


def weights(dtype="float32"):
    """Those of the network in PyTorch's layouts."""
    rng = np.random.default_rng(0)
    shapes = {"conv1": (8, 3, 3, 3), "conv2": (8, 8, 3, 3), "fc1": (16, 128), "fc2": (4, 16)}
    found = {}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        found[f"{name}.bias"] = rng.normal(size=shape[0]) * 0.1
    for name in ("bn1", "bn2"):
        found[f"{name}.weight"], found[f"{name}.bias"] = rng.uniform(0.5, 1.5, 8), rng.normal(size=8) * 0.1
        found[f"{name}.running_mean"], found[f"{name}.running_var"] = rng.normal(size=8) * 0.1, rng.uniform(0.02, 1, 8)
    return {name: array.astype(dtype) for name, array in found.items()}
