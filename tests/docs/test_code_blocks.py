"""Every block of code in README.md and docs/ is executed, and every `xfer` command in them is parsed."""

import shlex
from collections import defaultdict

import click
import pytest
import typer

from tests.suites.hub import environment, serve
from tests.suites.pages import PAGES, Worker, blocks, commands, on_tensorflow, photos, portable, programs
from xfer.cli import with_default_epochs
from xfer.cli.app import app

LONG = ["docs/coming-from/keras.md", "docs/export.md"]  # Keras compiles five networks; ONNX
LONG += [f"docs/tutorials/{name}.md" for name in ("keras-pytorch", "several-machines", "deploying")]
EXECUTED = [pytest.param(page, marks=pytest.mark.long) if page in LONG else page for page in PAGES if programs(page)]
QUICK = ("docs/getting-started.md",)  # on TensorFlow too in `make test`; the others in `make test-all`
PORTABLE = [page if page in QUICK else pytest.param(page, marks=pytest.mark.long) for page in PAGES if portable(page)]


@pytest.fixture(scope="session")
def workers(tmp_path_factory):
    """A process for each framework, which starts when it is first asked for; the hub is one on loopback."""

    class Workers(defaultdict):
        def __missing__(self, framework):
            self[framework] = Worker(env)
            return self[framework]

    home = tmp_path_factory.mktemp("home")
    with serve() as hub:
        env = environment(hub, home / "huggingface") | {"XFER_FEATURES": str(home / "features")}
        found = Workers()
        yield found
        for worker in found.values():
            worker.close()


@pytest.fixture
def folder(tmp_path):
    photos(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", EXECUTED)
def test_page(page, folder, workers):
    """The blocks of a page, one after the other, as one program; those of another framework in its process."""
    for framework, program in programs(page):
        error = workers[framework].run(page, program, folder)
        assert not error, error


@pytest.mark.parametrize("page", PORTABLE)
def test_page_on_tensorflow(page, folder, workers):
    """The same blocks with `backend="tensorflow"`."""
    error = workers["tensorflow"].run(page, on_tensorflow(page), folder)
    assert not error, error


def test_an_error_names_the_line_of_the_page(folder, workers):
    (block,) = blocks("README.md", "python")
    wrong = block._replace(text=block.text.replace("model.freeze()", "model.freez()"))
    error = workers["torch"].run("README.md", [wrong], folder)
    assert f'"README.md", line {block.line + 4}' in error
    assert "AttributeError" in error


def test_most_pages_have_code():
    assert sum(len(blocks(page, "python")) for page in PAGES) >= 25
    assert len(EXECUTED) >= 20
    assert sum(portable(page) for page in PAGES) >= 12


def test_what_is_not_executed_says_why():
    comments = [block.comment for page in PAGES for block in blocks(page, "python") if not block.framework]
    assert all(len(comment.removeprefix("not executed: ")) > 10 for comment in comments)


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_parsed(page):
    """Every line that begins with `xfer`, by the parser of the command line itself."""
    command = typer.main.get_command(app)
    for line in (line for block in blocks(page, "", "console") for line in commands(block)):
        name, *arguments = with_default_epochs(shlex.split(line)[1:])
        sub = command.commands[name]
        with click.Context(command) as parent:
            sub.make_context(name, list(arguments), parent=parent)


def test_configurations_are_read(tmp_path):
    from xfer.specs.space import parse_space
    from xfer.workflows.config import read_toml, run_settings

    bodies = [block.text for page in PAGES for block in blocks(page, "toml")]
    assert bodies
    for body in bodies:
        (tmp_path / "xfer.toml").write_text(body)
        given = read_toml(tmp_path / "xfer.toml")
        if space := given.pop("space", None):  # of `xfer tune`
            assert parse_space(space, {"data": "digits", **given})
        if given:
            run_settings(given)
