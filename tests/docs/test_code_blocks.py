"""Every block of code in README.md and docs/ is executed, and every `xfer` command in them is parsed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import typer
from PIL import Image

from tests.suites.hub import environment, serve
from xfer.cli import with_default_epochs
from xfer.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text, *languages):
    return [body for language, body in BLOCK.findall(text) if language in languages]


@pytest.fixture
def folder(tmp_path):
    """What the pages speak of: photos/ of two classes, photo.jpg, and a table."""
    rng, rows = np.random.default_rng(0), ["image,label,weight,place,split"]
    for split, number in (("train", 12), ("val", 6)):
        for i in range(number):
            label = ("ant", "bee")[i % 2]
            pixels = rng.integers(0, 120, (40, 40, 3)).astype(np.uint8)
            pixels[..., i % 2] += 100
            path = tmp_path / "photos" / split / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            known = "" if split == "train" and i in (4, 5) else label
            rows.append(f"photos/{split}/{label}/{i}.png,{known},{'' if i % 5 == 0 else i / 2},{'xyz'[i % 3]},{split}")
    (tmp_path / "photos.csv").write_text("\n".join(rows))
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    return tmp_path


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_python(page, folder):
    """The blocks of a page, one after the other, in one program; the hub is one on loopback."""
    program = "\n".join(blocks(PAGES[page], "python"))
    (folder / "page.py").write_text(program)
    with serve() as hub:
        env = environment(hub, folder / "huggingface")
        command = [sys.executable, "page.py"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]


def test_most_pages_have_code():
    assert sum(len(blocks(text, "python")) for text in PAGES.values()) >= 12


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_parsed(page):
    """Every line that begins with `xfer`, by the parser of the command line itself."""
    command = typer.main.get_command(app)
    lines = [line.split("  #")[0] for body in blocks(PAGES[page], "", "console") for line in body.splitlines()]
    for line in (line for line in lines if line.startswith("xfer ")):
        name, *arguments = with_default_epochs(shlex.split(line)[1:])
        sub = command.commands[name]
        with click.Context(command) as parent:
            sub.make_context(name, list(arguments), parent=parent)


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    """Every relative link leads to a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGES[page]):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_configurations_are_read(tmp_path):
    from xfer.workflows.config import read_toml, run_settings

    for text in PAGES.values():
        for body in blocks(text, "toml"):
            (tmp_path / "xfer.toml").write_text(body)
            run_settings(read_toml(tmp_path / "xfer.toml"))
