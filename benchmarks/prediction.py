"""`xfer predict --out` over many file names: memory above that of the loaded model, and the file after two kills.

    python benchmarks/prediction.py                       # 100,000 links to 300 images, a small network on PyTorch
    python benchmarks/prediction.py --names 5000 --backend tensorflow

One process is left alone and measured from when the model is loaded. Another is killed (SIGKILL) after a fifth of the
parts and after three fifths, and started again; its file must be the same, byte for byte.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

IMAGES, SIZE, PART = 300, 32, 512
SAVE = """
import sys, xfer
xfer.load("tiny", backend=sys.argv[1], weights=None, classes=10, image_size={}).save(sys.argv[2])
"""
MEASURED = """
import sys
from xfer.cli import main, predict
from xfer.runtime.profiling import peak_memory, reset_peak
opened = predict.open_model
def open_model(*arguments):
    global before
    model = opened(*arguments)
    reset_peak()
    before = peak_memory()
    return model
predict.open_model = open_model
try:
    main()
finally:
    print(f"{(peak_memory() - before) / 2**20:.0f} MiB above the {before / 2**20:.0f} MiB of the loaded model")
"""


def make(root: Path, names: int, backend: str) -> list[str]:
    """Images, links to them and a run; the arguments of `xfer`."""
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)).save(root / f"{i}.jpg")
    for i in range(names):
        folder = root / "links" / f"{i // 1000:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"image-{i:07d}.jpg").symlink_to(root / f"{i % IMAGES}.jpg")
    subprocess.run([sys.executable, "-c", SAVE.format(SIZE), backend, str(root / "run")], check=True)
    return ["predict", str(root / "run"), str(root / "links"), "--backend", backend, "--out"]


def killed_at(command: list[str], parts: Path, number: int) -> None:
    """Start a command, and kill it when it has written so many parts."""
    process = subprocess.Popen(command)
    while process.poll() is None and not (parts / f"{number:08d}.part").exists():
        time.sleep(0.05)
    process.kill()
    print(f"killed after {number} parts" if process.wait() else "it was finished before it could be killed")


def main() -> None:
    """Measure, kill and compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--names", type=int, default=100_000)
    options.add_argument("--backend", default="torch")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        arguments = make(root, given.names, given.backend)
        whole, killed = root / "whole.csv", root / "killed.csv"
        subprocess.run([sys.executable, "-c", MEASURED, *arguments, str(whole)], check=True)
        command = [sys.executable, "-m", "xfer", *arguments, str(killed)]
        for share in (0.2, 0.6):
            killed_at(command, root / "killed.csv.parts", int(given.names / PART * share))
        subprocess.run(command, check=True)
        same = whole.read_bytes() == killed.read_bytes()
        print(f"{whole.stat().st_size:,} bytes, {'the same' if same else 'NOT the same'} after two kills")
        sys.exit(not same)


if __name__ == "__main__":
    main()
