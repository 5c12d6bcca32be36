"""What a data set costs for each of its rows: memory and seconds of each step, from a thousand rows to a million.

    python benchmarks/scale.py [--rows 1000 10000 100000 1000000] [--of table folder ...] [--traced] [--json o] [--md o]

Each data set is measured in a process of its own, one step after the other, once on a few rows and then on all. The
peak is that of resident memory above what the process had before the first step (with `--traced`, what tracemalloc
counts, which makes it slower); slopes are least squares over the numbers of rows. A table names as many images as it
has rows: links to a thousand pictures of 48 pixels, in 100 folders and 100 classes, on /dev/shm where there is one.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from harness import write

from xfer.runtime.profiling import peak_memory, reset_peak

ROWS = (1_000, 10_000, 100_000, 1_000_000)
CLASSES, PICTURES, FEW = 100, 1000, 500
MOST_COMPARED = 10_000
Step = Callable[[str], object]


class Steps:
    """Processor seconds of each step, and bytes that memory has grown by at most until its end."""

    def __init__(self, traced: bool) -> None:
        self.found: list[tuple[str, float, int]] = []
        self._peak: Callable[[], int] = (lambda: tracemalloc.get_traced_memory()[1]) if traced else peak_memory
        self._traced = traced

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what runs inside."""
        if not self.found:
            gc.collect()
            if self._traced:
                tracemalloc.start()
            reset_peak()
            self._before = self._peak()
        started = time.process_time()
        yield
        self.found.append((name, time.process_time() - started, self._peak() - self._before))


def table(root: Path, rows: int, step: Steps, kind: str = "csv") -> None:
    """What a training does with a table until it has its first batch."""
    import xfer.data

    with step("read, looked for files, split"):
        data = xfer.data.load(str(root / f"{rows}.{kind}"))
    _batch(data, step)


def folder(root: Path, rows: int, step: Steps) -> None:
    """The same with a folder."""
    import xfer.data

    with step("listed, split"):
        data = xfer.data.load(str(root / f"photos{rows}"))
    _batch(data, step)


def _batch(data: object, step: Steps) -> None:
    from xfer.data import Loader
    from xfer.specs.preprocessing import Preprocessing

    with step("order of an epoch, first batch"):
        recipe = Preprocessing(resize=32, size=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
        loader = Loader(data.train, recipe, batch_size=32, shuffle=True, workers=2)  # type: ignore[attr-defined]
        batches = loader.epoch(0)
        next(batches)
    with step("fingerprint"):
        data.train.fingerprint()  # type: ignore[attr-defined]


def pandas_table(root: Path, rows: int, step: Steps, kind: str = "csv") -> None:
    """What pandas and scikit-learn need to read the same table, and to split it; no file is looked for."""
    import pandas
    from sklearn.model_selection import train_test_split

    with step("read, split"):
        frame = getattr(pandas, f"read_{kind}")(root / f"{rows}.{kind}")
        train_test_split(frame, test_size=0.2, stratify=frame["label"], random_state=0)


def torchvision_folder(root: Path, rows: int, step: Steps) -> None:
    """What torchvision needs to list the same folder; nothing is split."""
    from torchvision.datasets import ImageFolder

    with step("listed"):
        ImageFolder(root / f"photos{rows}")


def named(root: Path, rows: int, step: Steps) -> None:
    """The images of a prediction: a text file of paths."""
    from xfer.data.sources.lists import listed

    with step("read"):
        listed([root / f"{rows}.txt"])


def sampled(root: Path, rows: int, step: Steps) -> None:
    """An epoch in which every class has equally many images."""
    from xfer.data.sampling import repetitions, sample

    labels = np.random.default_rng(0).integers(0, CLASSES, rows)
    with step("order of an epoch"):
        repetitions(np.random.default_rng(0).permutation(sample(labels, "balanced", np.random.default_rng(0))))


def cache(root: Path, rows: int, step: Steps) -> None:
    """The index of cached features: digests of images, found among as many rows of a segment."""
    from xfer.features import store

    place = root / "cache"
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    with store.Writer(place) as out:
        for start in range(0, rows, 10_000):
            several = min(10_000, rows - start)
            digests = np.random.default_rng(start).bytes(32 * several)
            out.append(_digests(digests), np.zeros((several, 16), np.float32))
    parts = (np.random.default_rng(s).bytes(32 * min(10_000, rows - s)) for s in range(0, rows, 10_000))
    content = b"".join(parts)
    with step("digests of all images"):
        wanted = _digests(content)
    with step("digests to rows"):
        store.find(place, set(wanted))


def _digests(content: bytes) -> list[bytes]:
    return [content[i : i + 32] for i in range(0, len(content), 32)]


def duplicates(root: Path, rows: int, step: Steps) -> None:
    """`xfer inspect` without reading the images: digests of all of them, grouped."""
    from xfer.data.audit.duplicates import Place, repeated, same_pictures
    from xfer.data.images.probe import ImageInfo

    content = np.random.default_rng(0).bytes(32 * rows)
    with step("digests of all images"):
        looks = [ImageInfo(content[32 * i : 32 * i + 32], 1000 + i % 7, 1000, "JPEG", "RGB") for i in range(rows)]
    with step("grouped"):
        several = repeated(look.digest for look in looks)
        places = ((look.digest, Place("train", str(i), "a")) for i, look in enumerate(looks))
        same_pictures(each for each in places if each[0] in several)


def near(root: Path, rows: int, step: Steps) -> None:
    """Near-duplicates, of `xfer inspect --with`: every image is compared with every other."""
    from xfer.data.audit.appearance import Appearance
    from xfer.data.audit.near import same_picture

    rows = min(rows, MOST_COMPARED)
    thumbnails = np.random.default_rng(0).integers(0, 256, (rows, 16, 16)).astype(np.float32)
    found = [Appearance(str(i).encode(), each, 500, 500, 0.0, 0.0, None) for i, each in enumerate(thumbnails)]
    with step(f"compared, {MOST_COMPARED:,} rows at most"):
        same_picture(found)


def evaluation(root: Path, rows: int, step: Steps) -> None:
    """Metrics of predictions of ten classes; the names are those of the images."""
    from xfer.evaluation.evaluation import evaluate_logits

    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(rows, 10)).astype(np.float32), rng.integers(0, 10, rows)
    names = [f"photos/class00/photo-{i:09d}.jpg" for i in range(rows)]
    with step("metrics of 10 classes"):
        evaluate_logits(logits, labels, names, tuple("abcdefghij"))


KINDS: dict[str, Callable[[Path, int, Steps], None]] = {
    "CSV": table,
    "CSV, pandas": pandas_table,
    "Parquet": lambda root, rows, step: table(root, rows, step, "parquet"),
    "Parquet, pandas": lambda root, rows, step: pandas_table(root, rows, step, "parquet"),
    "folder": folder,
    "folder, torchvision": torchvision_folder,
    "list of paths": named,
    "sampling": sampled,
    "feature cache": cache,
    "copies": duplicates,
    "near-duplicates": near,
    "evaluation": evaluation,
}


def make(root: Path, rows: int) -> None:
    """A folder of so many images, and tables and a text file that name them."""
    import pandas
    from PIL import Image

    pictures = root / "pictures"
    if not pictures.exists():
        pictures.mkdir()
        for i in range(PICTURES):
            pixels = np.random.default_rng(i).integers(0, 256, (48, 48, 3), np.uint8)
            Image.fromarray(pixels).save(pictures / f"{i}.jpg")
    photos = root / f"photos{rows}"
    names = [f"class{i % CLASSES:02d}/photo-{i:09d}.jpg" for i in range(rows)]
    for i in range(min(CLASSES, rows)):
        (photos / f"class{i:02d}").mkdir(parents=True)
    for i, name in enumerate(names):
        os.link(pictures / f"{i % PICTURES}.jpg", photos / name)
    frame = pandas.DataFrame({"image": [f"photos{rows}/{name}" for name in names], "label": [n[:7] for n in names]})
    frame = frame.sample(frac=1, random_state=0)
    frame.to_csv(root / f"{rows}.csv", index=False)
    frame.to_parquet(root / f"{rows}.parquet", index=False)
    (root / f"{rows}.txt").write_text("".join(f"{name}\n" for name in frame["image"]))


def measure(root: Path, kind: str, rows: int, traced: bool) -> list[tuple[str, float, int]]:
    """Steps of one data set, in a process of its own: name, seconds, bytes."""
    command = [sys.executable, __file__, "--child", json.dumps([str(root), kind, rows, traced])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [tuple(each) for each in json.loads(done.stdout.splitlines()[-1])]


def child(root: str, kind: str, rows: int, traced: bool) -> None:
    """Measure, and print what was found."""
    KINDS[kind](Path(root), FEW, Steps(False))  # what is imported and compiled on the way
    step = Steps(traced)
    KINDS[kind](Path(root), rows, step)
    print(json.dumps(step.found))


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--of", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--traced", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    parser.add_argument("--child")
    given = parser.parse_args()
    if given.child:
        child(*json.loads(given.child))
        return
    found: dict[tuple[str, str], list[tuple[int, float, int]]] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root:
        for rows in (FEW, *given.rows):
            make(Path(root), rows)
        most = max(given.rows)
        sizes = {kind: round((Path(root) / f"{most}.{kind}").stat().st_size / most, 1) for kind in ("csv", "parquet")}
        for kind in given.of:
            for rows in given.rows:
                for name, seconds, memory in measure(Path(root), kind, rows, given.traced):
                    found.setdefault((kind, name), []).append((rows, seconds, memory))
    results = []
    for (kind, name), points in found.items():
        rows, seconds, memory = np.array(points, float).T
        slopes = [float(np.polyfit(rows, y, 1)[0]) for y in (memory, seconds)] if len(rows) > 1 else [np.nan] * 2
        results.append(
            {
                "": kind,
                "step": name,
                "seconds": ", ".join(f"{s:.2g}" for s in seconds),
                "peak, MiB": ", ".join(f"{m / 2**20:,.3g}" for m in memory),
                "bytes a row": slopes[0],
                "µs a row": 1e6 * slopes[1],
            }
        )
    points = [(kind, name, *point) for (kind, name), each in found.items() for point in each]
    heading = f"Scale, {', '.join(f'{n:,}' for n in given.rows)} rows"
    print(write(heading, results, given.json, given.md, points=points, bytes_of_a_row=sizes))
    print("bytes of a row in a file:", sizes)


if __name__ == "__main__":
    main()
