"""What it costs to train a new head on a frozen ResNet-50, validation after every epoch included.

    python benchmarks/head_training.py [DATA] [--epochs 1,5,10,20] [--rounds 3] [--device cpu] [--only NAMES]
                                       [--json out.json] [--md out.md]

DATA has train/CLASS and val/CLASS; without it, 245 and 153 pictures are made. Every contender trains a linear head on
the same photos (224 pixels, batches of 32, no augmentation) and validates after each epoch. Imports and the building of
the network are not counted, everything else is. They take turns, each in a process of its own. The times after fewer
epochs are read off on the way to the most.

- bare pass: no training: every photo once through the backbone in bfloat16, decoded by threads meanwhile, with malloc
  set up as well. Nothing that looks at every photo can be much faster. On torch it is torchvision's module in
  channels_last; on TensorFlow the plain Keras model in a `tf.function`, which is traced anew, as in every program.
- xfer: `Trainer.fit` with its defaults, and nothing kept from before: no features, no verdict on the precision; with
  malloc set up as the `xfer` command does.
- tutorial loop: PyTorch's transfer-learning tutorial with a fixed feature extractor, in batches of 32.
- Keras fit: the transfer-learning guide with `image_dataset_from_directory`, the base frozen and in inference mode.
- fastai: `vision_learner`, frozen, and `fit_one_cycle`; where it is installed (`pip install fastai`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from harness import Apart, cores, interleave, ratio, write
from loader import make_photographs
from PIL import Image

SIZE, BATCH = 224, 32
Times = list[float]  # seconds after each epoch


class Clock:
    """Seconds since a start, noted after each epoch."""

    def __init__(self) -> None:
        self.times: Times = []
        self._started = time.perf_counter()

    def note(self) -> None:
        """An epoch has ended."""
        self.times.append(time.perf_counter() - self._started)


def photos(data: str) -> list[Path]:
    """All photos of both splits."""
    return sorted(path for split in ("train", "val") for path in Path(data, split).glob("*/*"))


def decoded(path: Path) -> np.ndarray:
    """A photo as uint8 (224, 224, 3)."""
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    return np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))


def bare_pass(data: str, epochs: int, device: str) -> Callable[[], Times]:
    """One pass of all photos through torchvision's backbone."""
    import torch
    import torchvision

    from xfer.runtime.malloc import keep_pages

    keep_pages()
    network = torchvision.models.resnet50().eval().to(device, memory_format=torch.channels_last)
    network.fc = torch.nn.Identity()
    paths = photos(data)

    def once() -> Times:
        clock = Clock()
        with (
            ThreadPoolExecutor(cores()) as pool,
            torch.inference_mode(),
            torch.autocast(torch.device(device).type, torch.bfloat16),
        ):
            images, features = pool.map(decoded, paths), []
            while batch := [image for image, _ in zip(images, range(BATCH), strict=False)]:
                x = torch.from_numpy(np.stack(batch)).to(device).permute(0, 3, 1, 2).float() / 255
                features.append(network((x - 0.45) / 0.225).float().cpu())
        clock.note()
        return clock.times

    return once


def bare_keras_pass(data: str, epochs: int, device: str) -> Callable[[], Times]:
    """One pass of all photos through a plain Keras model."""
    import keras
    import tensorflow as tf

    import xfer
    from xfer.runtime.malloc import keep_pages

    keep_pages()
    options = {"weights": None, "classes": 2, "precision": "bf16"}
    network = xfer.load("resnet50", backend="tensorflow", device=device, **options).native
    plain = keras.Model(network.input, network.layers[-1].input)
    paths, shape = photos(data), tf.TensorSpec([None, SIZE, SIZE, 3], tf.uint8)

    def once() -> Times:
        clock = Clock()

        @tf.function(input_signature=[shape])
        def features_of(x: tf.Tensor) -> tf.Tensor:
            return tf.cast(plain((tf.cast(x, tf.float32) / 255 - 0.45) / 0.225, training=False), tf.float32)

        with ThreadPoolExecutor(cores()) as pool:
            images, features = pool.map(decoded, paths), []
            while batch := [image for image, _ in zip(images, range(BATCH), strict=False)]:
                features.append(features_of(tf.constant(np.stack(batch))).numpy())
        clock.note()
        return clock.times

    return once


def xfer_fit(data: str, epochs: int, device: str, backend: str) -> Callable[[], Times]:
    """`Trainer.fit` with nothing cached before."""
    import sklearn.metrics  # noqa: F401  # xfer imports it when it first validates

    import xfer
    from xfer.runtime.malloc import keep_pages
    from xfer.training.callback import Callback

    keep_pages()

    class Note(Callback):
        def __init__(self) -> None:
            self.clock = Clock()

        def on_epoch_end(self, trainer: xfer.Trainer, row: object) -> None:
            self.clock.note()

    def once() -> Times:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XFER_FEATURES"] = folder
            images = xfer.data.folder(data)
            model = xfer.load("resnet50", backend=backend, weights=None, classes=images.classes, device=device)
            model.freeze()
            note = Note()
            xfer.Trainer(model, callbacks=[note], progress=False).fit(images, epochs)
            return note.clock.times

    return once


def tutorial(data: str, epochs: int, device: str) -> Callable[[], Times]:
    """pytorch.org/tutorials/beginner/transfer_learning_tutorial.html, "ConvNet as fixed feature extractor"."""
    import torch
    import torchvision
    from torchvision import datasets, transforms

    turn = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    sets = {split: datasets.ImageFolder(str(Path(data, split)), turn) for split in ("train", "val")}

    def once() -> Times:
        network = torchvision.models.resnet50()
        for parameter in network.parameters():
            parameter.requires_grad = False
        network.fc = torch.nn.Linear(network.fc.in_features, 2)
        network = network.to(device)
        rule = torch.optim.SGD(network.fc.parameters(), lr=0.001, momentum=0.9)
        loaders = {
            split: torch.utils.data.DataLoader(each, BATCH, shuffle=True, num_workers=cores())
            for split, each in sets.items()
        }
        clock = Clock()
        for _ in range(epochs):
            for split in ("train", "val"):
                network.train(split == "train")
                for x, y in loaders[split]:
                    x, y = x.to(device), y.to(device)
                    rule.zero_grad()
                    with torch.set_grad_enabled(split == "train"):
                        outputs = network(x)
                        (outputs.argmax(1) == y).sum().item()
                        loss = torch.nn.functional.cross_entropy(outputs, y)
                        if split == "train":
                            loss.backward()
                            rule.step()
                    loss.item()
            clock.note()
        return clock.times

    return once


def keras_fit(data: str, epochs: int, device: str) -> Callable[[], Times]:
    """keras.io/guides/transfer_learning on a folder of photos."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow as tf

    def once() -> Times:
        sets = [
            keras.utils.image_dataset_from_directory(
                str(Path(data, split)), image_size=(SIZE, SIZE), batch_size=BATCH, verbose=False
            ).prefetch(tf.data.AUTOTUNE)
            for split in ("train", "val")
        ]
        base = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
        base.trainable = False
        entry = keras.Input((SIZE, SIZE, 3))
        x = base(keras.applications.resnet.preprocess_input(entry), training=False)
        model = keras.Model(entry, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"])
        clock = Clock()
        note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.note())
        model.fit(sets[0], validation_data=sets[1], epochs=epochs, callbacks=[note], verbose=0)
        return clock.times

    return once


def fastai_fit(data: str, epochs: int, device: str) -> Callable[[], Times]:
    """docs.fast.ai/tutorial.vision: a learner that is frozen."""
    from fastai.callback.core import Callback
    from fastai.metrics import accuracy
    from fastai.vision.all import ImageDataLoaders, Resize, resnet50, vision_learner

    class Note(Callback):
        def before_fit(self) -> None:
            self.clock = Clock()

        def after_epoch(self) -> None:
            self.clock.note()

    def once() -> Times:
        loaders = ImageDataLoaders.from_folder(
            data, train="train", valid="val", item_tfms=Resize(SIZE), bs=BATCH, num_workers=cores(), device=device
        )
        note = Note()
        learner = vision_learner(loaders, resnet50, pretrained=False, metrics=accuracy, cbs=[note])
        learner.freeze()
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(epochs)
        return note.clock.times

    return once


def contenders(data: str, epochs: int, device: str, wanted: Sequence[str]) -> dict[str, Apart]:
    """Those that can run here, each in its own process."""
    found = {
        "bare pass": (bare_pass,),
        "bare pass, tensorflow": (bare_keras_pass,),
        "xfer, torch": (xfer_fit, "torch"),
        "xfer, tensorflow": (xfer_fit, "tensorflow"),
        "Keras fit": (keras_fit,),
        "tutorial loop": (tutorial,),
        "fastai": (fastai_fit,),
    }
    if find_spec("fastai") is None:
        del found["fastai"]
    return {
        name: Apart(make, data, epochs, device, *rest)
        for name, (make, *rest) in found.items()
        if not wanted or name in wanted
    }


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", help="a folder with train/CLASS and val/CLASS; made if left out")
    parser.add_argument("--epochs", default="1,5,10,20")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--only", default="", help="names of contenders, by semicolons")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    marks = [int(number) for number in given.epochs.split(",")]
    wanted = [x for x in given.only.split(";") if x]
    with tempfile.TemporaryDirectory() as made:
        if given.data is None:
            for seed, (split, number) in enumerate((("train", 245), ("val", 153))):
                Path(made, split).mkdir()
                make_photographs(Path(made, split), number, seed)
        running = contenders(given.data or made, max(marks), given.device, wanted)
        found = interleave(running, given.rounds, warmup=0)
    rows = []
    for name, rounds in found.items():
        for epochs in marks[-1:] if "bare pass" in name else marks:
            seconds = [times[min(epochs, len(times)) - 1] for times in rounds]
            row = {
                "": name,
                "epochs": "-" if "bare pass" in name else epochs,
                "seconds": sorted(seconds)[len(seconds) // 2],
            }
            for other in ("bare pass", "bare pass, tensorflow", "tutorial loop", "Keras fit"):
                theirs = [times[min(epochs, len(times)) - 1] for times in found.get(other, [])]
                bare = "bare pass" in other
                row[f"x {other}" if bare else f"faster than {other}"] = (
                    ratio(*((seconds, theirs) if bare else (theirs, seconds)))
                    if theirs and name != other and "bare pass" not in name
                    else ""
                )
            rows.append(row)
    print(write("Head training", rows, given.json, given.md, rounds=found))


if __name__ == "__main__":
    main()
