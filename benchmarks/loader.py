"""Images a second that xfer's loader gives, against bare Pillow on all cores and the frameworks' own pipelines.

    python benchmarks/loader.py [FOLDER] [--rounds 7] [--images 1000] [--json out.json] [--md out.md]

FOLDER has a folder of pictures for each class; without one, crops of scikit-learn's sample photographs are made. Every
contender reads the same files from the page cache into batches of 32 at 224 pixels, in a process of its own, as its own
documentation says. xfer, torchvision and the bare decoder resize the shorter side to 256 with antialiasing and cut out
the centre; tf.data and Keras resize straight to the square, without antialiasing, as theirs do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
from harness import Apart, Contender, cores, interleave, ratio, write
from PIL import Image

SIZE, RESIZE, BATCH = 224, 256, 32
SUFFIXES = (".jpg", ".jpeg", ".png")
BARE = "bare Pillow, threads"


def rate(passes: int, expected: int, epoch: Callable[[], Iterable[int]]) -> Contender:
    """Images a second over some passes of a pipeline, which yields how many images came."""

    def measured() -> float:
        started = time.perf_counter()
        for _ in range(passes):
            if (seen := sum(epoch())) != expected:
                raise SystemExit(f"{seen} images came of {expected}")
        return passes * expected / (time.perf_counter() - started)

    return measured


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        rgb = image.convert("RGB")
    width, height = (RESIZE * side // min(rgb.size) for side in rgb.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    resized = rgb.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def bare_threads(folder: Path, files: list[Path], passes: int) -> Contender:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(cores())
    return rate(passes, len(files), lambda: (len(image[:1]) for image in pool.map(pixels, files)))


def bare_processes(folder: Path, files: list[Path], passes: int) -> Contender:
    from multiprocessing import get_context

    pool = get_context("spawn").Pool(cores())
    return rate(passes, len(files), lambda: (len(image[:1]) for image in pool.imap(pixels, files, chunksize=8)))


def xfer_loader(folder: Path, files: list[Path], passes: int, memory: int) -> Contender:
    import xfer
    from xfer.data import Budget, Loader, pictures

    recipe = xfer.Preprocessing(SIZE, RESIZE)
    loader = Loader(pictures(files), recipe, batch_size=BATCH, workers=None, memory=Budget(memory))
    return rate(passes, len(files), lambda: map(len, loader.epoch(0)))


def torchvision_loader(folder: Path, files: list[Path], passes: int) -> Contender:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose([v2.Resize(RESIZE), v2.CenterCrop(SIZE), v2.PILToTensor()])
    loader = DataLoader(ImageFolder(folder, transform), BATCH, num_workers=cores(), persistent_workers=True)
    return rate(passes, len(files), lambda: (len(images) for images, _ in loader))


def tf_data(folder: Path, files: list[Path], passes: int) -> Contender:
    import tensorflow as tf

    def process(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.cast(tf.image.resize(image, [SIZE, SIZE]), tf.uint8)

    paths = tf.data.Dataset.from_tensor_slices([str(file) for file in files])
    images = paths.map(process, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    return rate(passes, len(files), lambda: (len(batch) for batch in images))


def keras_directory(folder: Path, files: list[Path], passes: int) -> Contender:
    import keras
    import tensorflow as tf

    images = keras.utils.image_dataset_from_directory(
        folder, image_size=(SIZE, SIZE), batch_size=BATCH, shuffle=False, verbose=False
    ).prefetch(tf.data.AUTOTUNE)
    return rate(passes, len(files), lambda: (len(batch) for batch, _ in images))


CONTENDERS: dict[str, tuple[Callable[..., Contender], str]] = {
    BARE: (bare_threads, "PIL"),
    "bare Pillow, processes": (bare_processes, "PIL"),
    "xfer Loader": (partial(xfer_loader, memory=0), "xfer"),
    "xfer Loader, images kept": (partial(xfer_loader, memory=4 << 30), "xfer"),
    "torch DataLoader, torchvision": (torchvision_loader, "torchvision"),
    "tf.data": (tf_data, "tensorflow"),
    "Keras image_dataset_from_directory": (keras_directory, "keras"),
}


def make_photographs(folder: Path, number: int = 256, seed: int = 0) -> None:
    """Crops of two photographs, 300 to 960 pixels wide, as JPEG in two folders; with another seed, others."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(seed)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    for i in range(number):
        photograph = photographs[i % 2]
        width = int(rng.integers(400, photograph.width + 1))
        height = width * 2 // 3
        left, top = (int(rng.integers(a - b + 1)) for a, b in zip(photograph.size, (width, height), strict=True))
        scale = rng.uniform(0.75, 1.5)
        size = int(width * scale), int(height * scale)
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        crop = photograph.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BICUBIC)
        crop.save(folder / "ab"[i % 2] / f"{i:04}.jpg", quality=90)


def measure(folder: Path, options: argparse.Namespace) -> str:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"{folder} holds no {' '.join(SUFFIXES)}")
    passes = -(-options.images // len(files))
    names = [name for name, (_, needs) in CONTENDERS.items() if find_spec(needs)]
    contenders = {name: Apart(CONTENDERS[name][0], folder, files, passes) for name in names}
    rounds = interleave(contenders, options.rounds)
    rows = [
        {"contender": name, "images/s": median(rounds[name]), "of the bare decoder": ratio(rounds[name], rounds[BARE])}
        for name in names
    ]
    sides = [Image.open(file).size for file in files]
    data = {
        "files": len(files),
        "kilobytes": median(file.stat().st_size for file in files) / 1000,
        "width": median(width for width, _ in sides),
        "height": median(height for _, height in sides),
    }
    return write("Input pipeline", rows, options.json, options.md, rounds=rounds, data=data, passes=passes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=1000, help="how many a measurement takes at least")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    options = parser.parse_args()
    if options.folder is not None:
        print(measure(options.folder, options))
        return
    with tempfile.TemporaryDirectory() as made:
        make_photographs(Path(made))
        print(measure(Path(made), options))


if __name__ == "__main__":
    main()
