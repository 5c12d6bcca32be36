"""The Markdown pages, their blocks of code, and a process for each framework that runs them.

A comment on the line before a block says what is special about it:
`<!-- runs on: tensorflow -->`, or `<!-- not executed: REASON -->`.
"""

import json
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PATHS = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in PATHS}
FENCE = re.compile(r"^(?:<!-- ([^\n]*?) -->\n)?^(`{3,})([^\n`]*)\n(.*?)^\2$", re.MULTILINE | re.DOTALL)
# Published weights that only a download brings are left out; the code around them is the same.
OFFLINE = {'weights="imagenet"': "weights=None", "pretrained=True": "pretrained=False"}
FRAMEWORK = re.compile(r"\b(?:import|from) (?:torch|torchvision|timm|tensorflow|keras|onnxruntime)\b")


class Block(NamedTuple):
    """A fenced block: its language, text, the line on which the text begins, and what the comment before it says."""

    language: str
    text: str
    line: int
    comment: str

    @property
    def framework(self) -> str:
        """Where it runs; "" if it does not."""
        if self.comment.startswith("not executed"):
            return ""
        return self.comment.removeprefix("runs on: ") if self.comment.startswith("runs on: ") else "torch"


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks of a page, of some languages or all; those of directives (`{toctree}`) are none."""
    text = PAGES[page]
    found = (
        Block(each[3].strip(), each[4], text.count("\n", 0, each.start(4)) + 1, each[1] or "")
        for each in FENCE.finditer(text)
    )
    return [block for block in found if block.language in languages or (not languages and block.language[:1] != "{")]


def programs(page: str) -> list[tuple[str, list[Block]]]:
    """What is executed of a page: runs of Python blocks and commands, each with its framework, in order.

    Commands are executed in the tutorials, elsewhere they are only parsed. One that names TensorFlow runs there.
    """
    found: list[tuple[str, Block]] = []
    for block in blocks(page):
        if block.language == "python" and block.framework:
            found.append((block.framework, block._replace(text=offline(block.text))))
        elif block.language in ("", "console") and "tutorials/" in page and block.framework:
            for command in commands(block):
                on = "tensorflow" if "tensorflow" in command else block.framework
                found.append((on, block._replace(language="xfer", text=command)))
    return [(framework, [block for _, block in group]) for framework, group in groupby(found, key=lambda x: x[0])]


def offline(text: str) -> str:
    """Code without the weights that would have to be downloaded."""
    for download, none in OFFLINE.items():
        text = text.replace(download, none)
    return text


def commands(block: Block) -> list[str]:
    """The lines of a block that call `xfer`, without their comments."""
    lines = (line.split("  #")[0].strip() for line in block.text.splitlines())
    return [line for line in lines if line.startswith("xfer ")]


def portable(page: str) -> bool:
    """Whether the same Python blocks are to run on the other framework: none of them calls a framework itself."""
    python = blocks(page, "python")
    return bool(python) and all(block.framework == "torch" and not FRAMEWORK.search(block.text) for block in python)


def on_tensorflow(page: str) -> list[Block]:
    """The Python blocks of a page, with the other backend's name."""
    return [block._replace(text=block.text.replace('"torch"', '"tensorflow"')) for block in blocks(page, "python")]


def photos(folder: Path) -> None:
    """What the pages speak of: photos/ of two classes, photo.jpg, and a table."""
    rng, rows = np.random.default_rng(0), ["image,label,weight,place,split"]
    for split, number in (("train", 12), ("val", 6)):
        for i in range(number):
            label = ("ant", "bee")[i % 2]
            pixels = rng.integers(0, 120, (40, 40, 3)).astype(np.uint8)
            pixels[..., i % 2] += 100
            path = folder / "photos" / split / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            known = "" if split == "train" and i in (4, 5) else label
            rows.append(f"photos/{split}/{label}/{i}.png,{known},{'' if i % 5 == 0 else i / 2},{'xyz'[i % 3]},{split}")
    (folder / "photos.csv").write_text("\n".join(rows))
    Image.fromarray(pixels).save(folder / "photo.jpg")


class Worker:
    """A process that imports one framework once, and runs the blocks of page after page.

    Args:
        env: its environment.
    """

    def __init__(self, env: dict[str, str]) -> None:
        command = [sys.executable, str(Path(__file__).with_name("page_worker.py"))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT
        )

    def run(self, page: str, blocks: list[Block], folder: Path) -> str:
        """Run blocks as one program in a folder: "", or the traceback, whose lines are those of the page."""
        job = {"page": page, "folder": str(folder), "blocks": [block[:3] for block in blocks]}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        return json.loads(answer) if answer else f"the process ended with {self._process.wait()}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
