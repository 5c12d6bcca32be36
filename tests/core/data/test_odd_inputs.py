"""Data as it lies on people's disks: each runs through inspection, training and prediction, or is one plain line."""

import csv
import os
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

import xfer
from tests.core.data.odd import NAMES, journey, network, posix, reasons
from tests.suites.command_line import xfer_command
from xfer.cli.app import app
from xfer.data import folder, inspect, load, manifest, pictures
from xfer.errors import DataError
from xfer.testing import NumpyBackend
from xfer.workflows import run as workflow
from xfer.workflows import setup
from xfer.workflows.config import run_settings
from xfer.workflows.opening import Opening


@pytest.fixture
def predicted(monkeypatch):
    """`xfer predict` with a given model, in this process."""

    def run(model, *arguments):
        monkeypatch.setattr(Opening, "__call__", lambda self: model)
        return CliRunner().invoke(app, ["predict", "run", *map(str, arguments)])

    return run


@posix
def test_names(tmp_path, photo, predicted, monkeypatch):
    """Every one is trained on, listed, predicted and written into tables; a terminal is given none of its commands."""
    root = tmp_path / "my data \N{SNOWMAN}"
    for label in ("-ant [1]", os.fsdecode(b"bee\xff")):
        (root / label).mkdir(parents=True)
        for i, name in enumerate(NAMES):
            photo(i).save(root / label / name)
    data = folder(root, val=0.5)
    found, model = journey(data, root)
    assert reasons(found) == {}
    assert sum(split.readable for split in found.splits.values()) == 2 * len(NAMES)
    shown = predicted(model, "--top", "1", "--", root)
    assert shown.exit_code == 0, shown.output
    assert len(shown.stdout.splitlines()) == 2 * len(NAMES)
    assert "two\\nlines\\x1b[31m\\r.png: " in shown.stdout
    assert "[bold]red.png: " in shown.stdout
    assert "\x1b" not in shown.stdout
    monkeypatch.chdir(root / "-ant [1]")
    for name in NAMES:
        assert predicted(model, "--", name).exit_code == 0, name
    seen = xfer_command("inspect", root, "--isolate")
    assert seen.returncode == 0, seen.stderr

    real = setup.load
    monkeypatch.setattr(setup, "load", lambda name, **options: real(name, **options | {"backend": NumpyBackend()}))
    given = {"data": str(root), "model": "tiny", "weights": "none", "image_size": 16, "epochs": 1, "val": 0.5}
    workflow.train(run_settings(given, {"out": str(tmp_path / "run")}), progress=False)
    with (tmp_path / "run/predictions.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["name"] for row in rows) == sorted(folder(root, val=0.5).val.names)
    again = xfer.load(tmp_path / "run", backend=NumpyBackend())
    assert again.classes == data.classes


@posix
def test_long_paths(tmp_path, photo):
    """To the last byte that the system takes; a folder beyond is one line."""
    (tmp_path / "bee").mkdir()
    photo(1).save(tmp_path / "bee/a.png")
    here = os.open(tmp_path, os.O_RDONLY)
    length, names = len(os.fsencode(tmp_path)), ["ant"]
    while length + sum(len(name) + 1 for name in names) + 256 < 4085:
        names.append("d" * 250)
    rest = 4095 - length - sum(len(name) + 1 for name in names) - 1
    try:
        deepest = make(here, [*names], photo(0), "y" * (rest - 4) + ".png")
        found, _ = journey(folder(tmp_path, val=0), tmp_path)
        assert found.splits["train"].readable == 2
        assert max(len(os.fsencode(path)) for path in folder(tmp_path, val=0).train.images) == 4095
        make(deepest, ["z" * 250, "z" * 250], photo(0), "a.png")
    finally:
        os.close(here)
    with pytest.raises(DataError, match=r"cannot read folder /.*: File name too long"):
        folder(tmp_path, val=0)
    result = xfer_command("inspect", tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)


def make(where, folders, image, name):
    """A file in folders below one that is open; the system takes no path as long as that."""
    for each in folders:
        os.mkdir(each, dir_fd=where)
        where = os.open(each, os.O_RDONLY, dir_fd=where)
    with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=where), "wb") as file:
        image.save(file, "PNG")
    return where


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "~nobody-at-all/x", "far/away"])
def test_paths_that_cannot_be(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for read in (load, pictures, manifest):
        with pytest.raises(DataError) as error:
            read(name)
        assert "\n" not in str(error.value)


@posix
def test_what_is_no_file_is_not_waited_for(tmp_path, photo, predicted, monkeypatch):
    """A pipe that nobody writes to would be read for ever."""
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        photo(1).save(tmp_path / label / "good.png")
    where = tmp_path / "ant"
    os.mkfifo(where / "pipe.jpg")
    monkeypatch.chdir(where)  # a socket's path may have no more than 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        (where / "zero.jpg").symlink_to("/dev/zero")
        (where / "gone.jpg").symlink_to("nowhere.jpg")
        (where / "one.jpg").symlink_to("other.jpg")
        (where / "other.jpg").symlink_to("one.jpg")
        (where / "folder.jpg").mkdir()
        photo(2).save(where / "folder.jpg/inside.png")
        found, model = journey(folder(tmp_path, val=0), tmp_path)
        isolated = inspect(folder(tmp_path, val=0), isolate=True)
    assert found == isolated
    assert reasons(found) == {
        "ant/pipe.jpg": "a pipe, socket or device, not a file",
        "ant/socket.jpg": "a pipe, socket or device, not a file",
        "ant/zero.jpg": "a pipe, socket or device, not a file",
        "ant/gone.jpg": "a link to something that is not there",
        "ant/one.jpg": "Too many levels of symbolic links",
        "ant/other.jpg": "Too many levels of symbolic links",
    }
    assert found.splits["train"].counts == {"ant": 2, "bee": 1}
    for name in ("pipe.jpg", "socket.jpg", "zero.jpg", "gone.jpg", "one.jpg"):
        result = predicted(model, where / name)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
    assert predicted(model, where / "folder.jpg").exit_code == 0


def test_files_that_are_not_what_they_are_called(tmp_path, photo):
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        photo(1).save(tmp_path / label / "png.jpg", "PNG")
        photo(2).save(tmp_path / label / "UPPER.JPEG", "JPEG")
        photo(3).save(tmp_path / label / "without", "PNG")
        photo(4).save(tmp_path / label / ".hidden.png")
        (tmp_path / label / "text.jpg").write_text("no image")
        (tmp_path / label / "empty.png").write_bytes(b"")
        for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "jpg"):
            (tmp_path / label / name).write_bytes(b"\0" * 99)
    data = folder(tmp_path, val=0)
    found, _ = journey(data, tmp_path)
    assert found.splits["train"].counts == {"ant": 2, "bee": 2}
    assert reasons(found) == {
        f"{label}/{name}": reason
        for label in ("ant", "bee")
        for name, reason in (("text.jpg", "not an image that xfer can read"), ("empty.png", "the file is empty"))
    }
    assert data.notes == ("12 files without the extension of an image were left out",)
    assert found.notes == data.notes
    assert list(map(str, pictures(tmp_path / "ant").images)) == [
        str(tmp_path / "ant" / name) for name in ("UPPER.JPEG", "empty.png", "png.jpg", "text.jpg")
    ]


def test_files_that_vanish_after_they_were_listed(tmp_path, photo, preprocessing):
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        for i in range(3):
            photo(i).save(tmp_path / label / f"{i}.png")
    data = folder(tmp_path, val=0)
    (tmp_path / "ant/1.png").unlink()
    found, _ = journey(data)
    assert reasons(found) == {"ant/1.png": "there is no such file"}
    for path in (tmp_path / "bee").iterdir():
        path.unlink()
    (tmp_path / "bee").rmdir()
    found, _ = journey(data)
    assert found.splits["train"].counts == {"ant": 2, "bee": 0}
    assert "train has no readable image of bee: add some" in found.suggestions
    for path in (tmp_path / "ant").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of the 6 images can be read; the first, ant/0\.png: there is no"):
        xfer.Trainer(network(data.classes), progress=False).fit(data, 1)
    assert len(reasons(inspect(data))) == 6


@contextmanager
def unprivileged():
    """Root may read and write everything: for as long as this lasts, be nobody."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared(photo, monkeypatch):
    """Two class folders that everybody may read, and a folder for features that everybody may write."""
    with tempfile.TemporaryDirectory() as root:
        for label in ("ant", "bee"):
            Path(root, label).mkdir()
            for i in range(4):
                photo(i).save(Path(root, label, f"{i}.png"))
        Path(root).chmod(0o755)
        with tempfile.TemporaryDirectory() as features:
            Path(features).chmod(0o777)
            monkeypatch.setenv("XFER_FEATURES", features)
            journey(folder(root))  # with everything imported
            yield Path(root)


@posix
def test_a_folder_that_may_only_be_read(shared):
    for path in (*shared.rglob("*"), shared):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with unprivileged():
        with pytest.raises(PermissionError):
            (shared / "ant/new").touch()
        found, _ = journey(folder(shared), shared)
    assert reasons(found) == {}
    shared.chmod(0o755)
    for label in ("ant", "bee"):
        (shared / label).chmod(0o755)


@posix
def test_what_may_not_be_read(shared):
    (shared / "ant/1.png").chmod(0)
    with unprivileged():
        found, _ = journey(folder(shared, val=0), shared)
    assert reasons(found) == {"ant/1.png": "Permission denied"}
    (shared / "bee").chmod(0)
    with unprivileged(), pytest.raises(DataError, match=rf"cannot read folder {shared}/bee: Permission denied"):
        folder(shared)
    (shared / "bee").chmod(0o755)
    shared.chmod(0)
    with unprivileged():
        for read in (folder, load, pictures):
            with pytest.raises(DataError, match=rf"cannot read folder {shared}: Permission denied"):
                read(shared)
            with pytest.raises(DataError, match=rf"cannot look for {shared}/ant: Permission denied"):
                read(shared / "ant")
    shared.chmod(0o755)
