"""The pictures of the pages, made by the commands that the pages show, on data that comes with scikit-learn.

usage: python docs/pictures.py [NAME ...]

Each picture is a command, and a file that it writes: a PNG is taken as it is, of an HTML page Chromium takes a picture.
To add one, add a line to `PICTURES` and name the command beside the picture in the page.
"""

from __future__ import annotations

import io
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

IMAGES = Path(__file__).parent / "images"
MOST_BYTES = 150_000
TRAIN = "xfer train digits --limit 600 --image-size 64 --epochs 10 --out run"
COMPARE = "xfer compare digits --limit 300 --image-size 64 --epochs 5 --fine-tune 3 --out comparison"
WIDTH, SCALE = 1000, 1.5  # of a page, in CSS pixels; and pixels of the picture for each


class Picture(NamedTuple):
    """What makes a picture.

    Args:
        commands: run one after the other in one folder; a command that ran for another picture is not run again.
        file: what they write.
        height: of a page, how many CSS pixels of it are shown.
        top: of a page, where the picture begins.
    """

    commands: tuple[str, ...]
    file: str
    height: int = 0
    top: int = 0


PICTURES = {
    "confusion": Picture((TRAIN, "xfer evaluate run digits --out evaluation"), "evaluation/confusion.png"),
    "reliability": Picture((TRAIN, "xfer evaluate run digits --out evaluation"), "evaluation/reliability.png"),
    "compare": Picture((COMPARE,), "comparison/report.html", top=50, height=830),
    "curves": Picture((COMPARE,), "comparison/report.html", top=925, height=425),
}


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    IMAGES.mkdir(exist_ok=True)
    done: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for name in names or PICTURES:
            picture = PICTURES[name]
            for command in picture.commands:
                if command not in done:
                    print(command, flush=True)
                    subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=folder, check=True)
                    done.add(command)
            source = Path(folder, picture.file)
            content = shot(source, picture) if source.suffix == ".html" else source.read_bytes()
            target = IMAGES / f"{name}.png"
            target.write_bytes(small(content))
            print(f"{target}: {target.stat().st_size:,} bytes")


def shot(page: Path, picture: Picture) -> bytes:
    """A picture of the upper part of a page, in a light theme."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("pictures of pages need Chromium: install it, or name pictures that are plots")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "page.png")
        size = f"--window-size={WIDTH},{picture.top + picture.height}"
        options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", f"--force-device-scale-factor={SCALE}", size]
        command = [chromium, *options, f"--user-data-dir={folder}/profile", f"--screenshot={out}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        image = Image.open(out).convert("RGB")
        box = (0, round(picture.top * SCALE), image.width, round((picture.top + picture.height) * SCALE))
        made = io.BytesIO()
        image.crop(box).save(made, "PNG")
        return made.getvalue()


def small(content: bytes) -> bytes:
    """The PNG with at most 256 colours, smaller in steps until it is below `MOST_BYTES`."""
    image = Image.open(io.BytesIO(content)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    while True:
        made = io.BytesIO()
        image.quantize(256, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
        if made.tell() <= MOST_BYTES:
            return made.getvalue()
        image = image.resize((image.width * 9 // 10, image.height * 9 // 10), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(sys.argv[1:])
