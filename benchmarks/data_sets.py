"""Loading and splitting a million rows of a table, and a folder of many files, beside pandas and torchvision.

    python benchmarks/data_sets.py                        # 1,000,000 rows, 100,000 files
    python benchmarks/data_sets.py --rows 10000 --files 1000

Each measurement is a process of its own. xfer reads a table, looks for every file in it, numbers the classes and holds
out a stratified fifth; pandas reads the table and splits it with scikit-learn, and looks for no file. torchvision's
ImageFolder lists a folder, and xfer.data.folder lists and splits it. Printed are the least of several rounds, one after
the other in turn, the peak of memory above that before, and the ratios.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURE = """
import json, sys, time
from xfer.runtime.profiling import peak_memory, reset_peak
{imports}
reset_peak()
before, began = peak_memory(), time.perf_counter()
{work}
print(json.dumps([time.perf_counter() - began, (peak_memory() - before) / 2**20]))
"""
SPLIT = "train, val = train_test_split(frame, test_size=0.2, stratify=frame['label'], random_state=0)"
PANDAS = "import pandas\nfrom sklearn.model_selection import train_test_split"
XFER = "import xfer.data, sklearn.model_selection"
WAYS = {
    "CSV, xfer": (XFER, "data = xfer.data.load({csv!r})"),
    "CSV, pandas": (PANDAS, "frame = pandas.read_csv({csv!r})\n" + SPLIT),
    "Parquet, xfer": (XFER + "\nimport pyarrow.parquet", "data = xfer.data.load({parquet!r})"),
    "Parquet, pandas": (PANDAS + "\nimport pyarrow.parquet", "frame = pandas.read_parquet({parquet!r})\n" + SPLIT),
    "folder, xfer": (XFER, "data = xfer.data.folder({folder!r})"),
    "folder, torchvision": (
        "from torchvision.datasets import ImageFolder",
        "data = ImageFolder({folder!r})",
    ),
}


def make(root: Path, rows: int, files: int) -> dict[str, str]:
    """Empty files: nothing is decoded."""
    import pandas

    folder = root / "photos"
    for label in range(10):
        (folder / f"class{label}").mkdir(parents=True)
    for i in range(files):
        (folder / f"class{i % 10}" / f"{i:07d}.jpg").touch()
    listed = [f"class{i % 10}/{i % files:07d}.jpg" if i < files else f"class{i % 10}/{i:07d}.jpg" for i in range(rows)]
    for i in range(files, rows):
        (folder / listed[i]).touch()
    frame = pandas.DataFrame({"image": listed, "label": [f"class{i % 10}" for i in range(rows)]})
    paths = {"csv": str(folder / "t.csv"), "parquet": str(folder / "t.parquet")}
    frame.to_csv(paths["csv"], index=False)
    frame.to_parquet(paths["parquet"])
    alone = root / "alone"
    for label in range(10):
        (alone / f"class{label}").mkdir(parents=True)
    for i in range(files):
        (alone / f"class{i % 10}" / f"{i:07d}.jpg").touch()
    return paths | {"folder": str(alone)}


def measure(imports: str, work: str) -> tuple[float, float]:
    """Seconds, and MiB above those before."""
    source = MEASURE.format(imports=imports, work=work)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        paths = make(Path(root), options.rows, options.files)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
        for _ in range(options.rounds):
            for name, (imports, work) in WAYS.items():
                found[name].append(measure(imports, work.format(**paths)))
    for name, each in found.items():
        print(f"{name:<22}{min(s for s, _ in each):8.2f} s{max(m for _, m in each):8.0f} MiB")
    for kind, other in (("CSV", "pandas"), ("Parquet", "pandas"), ("folder", "torchvision")):
        ours, theirs = (min(s for s, _ in found[f"{kind}, {who}"]) for who in ("xfer", other))
        print(f"{kind}: {ours / theirs:.2f} of the time of {other}")


if __name__ == "__main__":
    main()
