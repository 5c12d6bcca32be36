"""How far each known difference between PyTorch and Keras goes, where it acts: `python benchmarks/differences.py`.

Each row computes one thing with both frameworks as they are by default, from the same numbers, and says how far they
are apart: in grey levels for pixels, else as the largest difference relative to the largest number. Pictures are two
photographs of scikit-learn, or those of `--photos FOLDER`. docs/differences.md has the table.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from differences_updates import RNG, ROWS, Row, apart, default, difference  # torch, before TensorFlow
from harness import write
from PIL import Image
from torch import nn
from torch.nn import functional


def photos(folder: Path | None) -> list[Path]:
    """At most 50 JPEG files."""
    if folder is None:
        import sklearn.datasets

        folder = Path(sklearn.datasets.__file__).parent / "images"
    return sorted(path for path in folder.rglob("*.jp*g"))[:50]


def levels(pairs: Iterator[tuple[Any, Any]]) -> str:
    """Mean and largest difference of images."""
    gaps = [np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)) for a, b in pairs]
    return (
        f"{np.mean([gap.mean() for gap in gaps]):.2g} levels in the mean, {max(gap.max() for gap in gaps):.0f} at most"
    )


# -- pixels


def short_side(image: Image.Image, size: int) -> Image.Image:
    """As torchvision's Resize(size) does."""
    scale = size / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


@difference("resize to 224 x 224")
def resize(files: list[Path]) -> Row:
    import tensorflow as tf

    def both() -> Iterator[tuple[Any, Any]]:
        for path in files:
            image = Image.open(path).convert("RGB")
            theirs = tf.image.resize(np.asarray(image), (224, 224), method="bilinear")
            yield image.resize((224, 224), Image.Resampling.BILINEAR), theirs

    return (
        "Pillow, antialiased (torchvision)",
        "bilinear without antialiasing (image_dataset_from_directory)",
        levels(both()),
    )


@difference("resize by load_img(target_size)")
def load_img(files: list[Path]) -> Row:
    import keras

    def both() -> Iterator[tuple[Any, Any]]:
        for path in files:
            ours = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
            yield ours, keras.utils.load_img(path, target_size=(224, 224))

    return "Pillow, antialiased", f"{default(keras.utils.load_img, 'interpolation')} (load_img)", levels(both())


@difference("crop")
def crop(files: list[Path]) -> Row:
    def both() -> Iterator[tuple[Any, Any]]:
        for path in files:
            image = Image.open(path).convert("RGB")
            cut = short_side(image, 256)
            left, top = ((side - 224) // 2 for side in cut.size)
            yield (
                cut.crop((left, top, left + 224, top + 224)),
                image.resize((224, 224), Image.Resampling.BILINEAR),
            )

    return "shorter side to 256, central 224", "both sides to 224, whatever their ratio", levels(both())


@difference("JPEG decoding")
def decoding(files: list[Path]) -> Row:
    import tensorflow as tf

    both = (
        (Image.open(path).convert("RGB"), tf.io.decode_jpeg(tf.io.read_file(str(path)), channels=3)) for path in files
    )
    return "Pillow (libjpeg-turbo, exact DCT)", "tf.io.decode_jpeg (fast DCT)", levels(both)


@difference("normalisation")
def normalisation(files: list[Path]) -> Row:
    import keras

    image = np.asarray(Image.open(files[0]).convert("RGB").resize((224, 224)), np.float32)[None]
    ours = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    theirs = keras.applications.imagenet_utils.preprocess_input(image.copy(), mode="tf")
    return (
        "mean and standard deviation of ImageNet",
        "[-1, 1] (mode='tf'), or BGR less its mean (mode='caffe')",
        apart(ours, theirs),
    )


# -- layers


@difference("padding of a convolution at stride 2")
def padding(files: list[Path]) -> Row:
    import keras

    x, w = RNG.normal(size=(2, 32, 32, 3)), RNG.normal(size=(3, 3, 3, 8))
    ours = functional.conv2d(
        torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(w).permute(3, 2, 0, 1), stride=2, padding=1
    )
    theirs = keras.ops.conv(x, w, 2, padding="same")
    return (
        "one pixel on each side (padding=1)",
        "none before, one after (padding='same')",
        apart(ours.permute(0, 2, 3, 1), theirs),
    )


@difference("average pooling with padding")
def pooling(files: list[Path]) -> Row:
    import keras

    x = RNG.normal(size=(2, 33, 33, 3))
    ours = functional.avg_pool2d(torch.tensor(x).permute(0, 3, 1, 2), 3, 1, 1)
    theirs = keras.ops.average_pool(x, 3, 1, padding="same")
    return "zeros of the padding are counted", "they are not", apart(ours.permute(0, 2, 3, 1), theirs)


def norm_constants(kind: str, option: str) -> tuple[Any, Any]:
    """The defaults of both frameworks."""
    import keras

    ours = {"batch": nn.BatchNorm2d, "layer": nn.LayerNorm}[kind]
    theirs = {"batch": keras.layers.BatchNormalization, "layer": keras.layers.LayerNormalization}[kind]
    return default(ours, option), default(theirs, {"eps": "epsilon"}.get(option, option))


def epsilon(kind: str) -> Row:
    """How much larger the smaller one makes what is normalised."""
    ours, theirs = norm_constants(kind, "eps")
    shares = [f"{math.sqrt((v + theirs) / (v + ours)) - 1:.1g} (variance {v:g})" for v in (1.0, 0.1, 0.01)]
    return f"{ours:g}", f"{theirs:g}", ", ".join(shares)


ROWS["epsilon of batch normalisation"] = lambda _: epsilon("batch")
ROWS["epsilon of layer normalisation"] = lambda _: epsilon("layer")


@difference("momentum of batch normalisation")
def momentum(files: list[Path]) -> Row:
    ours, theirs = norm_constants("batch", "momentum")
    steps = [math.ceil(math.log(0.5) / math.log(1 - m)) for m in (ours, 1 - theirs)]
    texts = [f"{m:g}: half of the old is left after {n} steps" for m, n in zip((ours, theirs), steps, strict=True)]
    return texts[0], texts[1], f"a step moves them {ours / (1 - theirs):.0f} times as far"


@difference("running variance")
def variance(files: list[Path]) -> Row:
    import keras

    x = RNG.normal(size=(16, 7, 7, 4)).astype("float32")
    layer = nn.BatchNorm2d(4, momentum=1.0)
    layer(torch.tensor(x).permute(0, 3, 1, 2))
    theirs = keras.layers.BatchNormalization(momentum=0.0)
    theirs(x, training=True)
    return (
        "unbiased (n - 1)",
        "biased (n)",
        f"{apart(layer.running_var, theirs.moving_variance)} (n = 784), 1 / n in general",
    )


@difference("GELU in float64")
def gelu(files: list[Path]) -> Row:
    import keras

    x = np.linspace(-5, 5, 1001)
    return (
        "exact",
        "its constant is rounded to float32 (TensorFlow)",
        apart(functional.gelu(torch.tensor(x)), keras.ops.gelu(x, approximate=False)),
    )


@difference("slope of leaky ReLU")
def leaky(files: list[Path]) -> Row:
    import keras

    ours, theirs = default(nn.LeakyReLU, "negative_slope"), default(keras.layers.LeakyReLU, "negative_slope")
    return f"{ours:g}", f"{theirs:g}", f"{theirs / ours:.0f} times for x < 0"


@difference("initial weights of a linear layer")
def initial(files: list[Path]) -> Row:
    import keras

    torch.manual_seed(0)
    ours = nn.Linear(512, 10)
    theirs = keras.layers.Dense(10)
    theirs.build((None, 512))
    spread = [float(np.std(np.asarray(w))) for w in (ours.weight.detach(), theirs.kernel)]
    bias = float(ours.bias.detach().abs().max())
    return (
        "uniform to 1/√n, the bias too", "Glorot's uniform, the bias zero",
        f"standard deviation {spread[0]:.3f} and {spread[1]:.3f}, bias up to {bias:.3f} (512 to 10)",
    )  # fmt: skip


# -- loss


@difference("class weights")
def class_weights(files: list[Path]) -> Row:
    import keras

    z, y, w = RNG.normal(size=(8, 3)), np.array([0, 0, 0, 0, 0, 0, 1, 2]), np.array([0.5, 2.0, 2.0])
    ours = functional.cross_entropy(torch.tensor(z), torch.tensor(y), torch.tensor(w))
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, z, sample_weight=w[y])
    return (
        "Σ(w loss) / Σw",
        "Σ(w loss) / N",
        f"{apart(ours, theirs)} in a batch whose weights add up to {w[y].sum():g} of {len(y)}",
    )


def main() -> None:
    """Compute all rows, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder with JPEG files")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    files = photos(given.photos)
    rows = []
    for name, measure in sorted(ROWS.items(), key=lambda row: row[1].__module__ == "differences_updates"):
        ours, theirs, found = measure(files)
        rows.append({"difference": name, "PyTorch": ours, "Keras": theirs, "how far they are apart": found})
    print(write("Differences between PyTorch and Keras", rows, given.json, given.md, photographs=len(files)))


if __name__ == "__main__":
    main()
