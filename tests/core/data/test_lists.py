"""Lists of images: what they name, in which order, and what is refused."""

import itertools
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from tests.core.data.odd import NAMES, posix
from xfer.data.sources.lists import listed
from xfer.data.sources.load import windows
from xfer.errors import DataError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a.png", "deep/er/c.png", "deep/@eaDir/thumb.png", "deep/.hidden.png", "deep/notes.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(name, "PNG")
    return tmp_path


def test_the_order_and_the_repetitions_are_those_given(here):
    Path("deep/list.txt").write_text("er/c.png\r\n\n../a.png\nnot there.png\n")
    found = listed(["b.png", "deep", "b.png", "deep/list.txt", "."])
    whole = ["a.png", "b.png", "deep/er/c.png"]
    assert list(found.names) == ["b.png", "deep/er/c.png", "b.png", "er/c.png", "../a.png", "not there.png", *whole]
    paths = ["b.png", "deep/er/c.png", "b.png", "deep/er/c.png", "deep/../a.png", "deep/not there.png", *whole]
    assert [found.images[i] for i in range(len(found))] == [Path(path) for path in paths]
    assert not found.labelled.any()
    assert list(found.images[1:3]) == [Path("deep/er/c.png"), Path("b.png")]


@posix
def test_any_name_survives_a_list(tmp_path):
    """One that `find` writes, with a zero byte after each; and lines, for names without a line break."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in NAMES:
        (folder / name).touch()
    made = subprocess.run(["find", "in", "-type", "f", "-print0"], cwd=tmp_path, capture_output=True, check=True)
    (tmp_path / "zero.txt").write_bytes(made.stdout)
    found = listed([tmp_path / "zero.txt"])
    assert sorted(found.names) == sorted(f"in/{name}" for name in NAMES)
    assert all(path.is_file() for path in (found.images[i] for i in range(len(found))))
    plain = [name for name in NAMES if "\n" not in name]
    (folder / "lines.lst").write_bytes(b"\n".join(map(os.fsencode, plain)))
    assert list(listed([folder / "lines.lst"]).names) == plain


@pytest.mark.parametrize("column", ["image", "path"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables(here, suffix, column):
    rows = {column: ["er/c.png", "no, such\nfile.png", "er/c.png"], "age": ["3", None, "5"], "place": list("xyx")}
    frame, file = pandas.DataFrame(rows), here / "deep" / f"t{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(file)
    else:
        frame.to_csv(file, index=False, sep="," if suffix == ".csv" else "\t")
    found = listed([file, file], ["place", "age"])
    assert list(found.names) == rows[column] * 2
    assert found.images[0] == here / "deep/er/c.png"
    assert found.column_names == ("place", "age")
    assert found.columns.tolist() == [["x", "3"], ["y", None], ["x", "5"]] * 2
    assert listed([file]).columns is None


def test_images_within_a_table(here):
    content = Path("a.png").read_bytes()
    pandas.DataFrame({"image": [content, content]}).to_parquet("t.parquet")
    rows = [{"bytes": content, "path": None}, {"bytes": None, "path": "deep/er/c.png"}]
    parquet.write_table(pyarrow.table({"image": rows}), "u.parquet")
    found = listed(["t.parquet", "u.parquet", "b.png"])
    assert list(found.names) == ["row 1", "row 2", "row 1", "deep/er/c.png", "b.png"]
    assert list(found.images[:4]) == [content, content, content, Path("deep/er/c.png")]


@pytest.mark.parametrize(
    ("given", "columns", "message"),
    [
        (["c.png"], (), r"c\.png does not exist: did you mean 'b\.png', 'a\.png'"),
        (["deep/@eaDir/none"], (), "does not exist"),
        (["empty"], (), r"empty has no images in it"),
        (["empty.txt"], (), r"empty\.txt has no images in it"),
        (["a.png"], ("age",), r"reads columns age beside the image: give a table of them, not a\.png"),
        (["t.csv"], ("age",), r"t\.csv has no column 'age': its columns are 'image', 'place'"),
        (["t.csv"], (), r"t\.csv line 3: column 'image' is empty"),
        (["u.csv"], (), r"u\.csv has no column 'image': its columns are 'file'"),
    ],
)
def test_what_is_refused(here, given, columns, message):
    Path("empty").mkdir()
    Path("empty.txt").write_text("\n")
    Path("t.csv").write_text("image,place\na.png,x\n,y\n")
    Path("u.csv").write_text("file\na.png\n")
    with pytest.raises(DataError, match=message):
        listed(given, columns)


def test_windows_read_an_iterator_as_it_goes(here):
    taken = []
    each = (taken.append(i) or "a.png" for i in itertools.count())
    splits = windows(each, 3)
    assert list(next(splits).names) == ["a.png"] * 3
    assert taken == [0, 1, 2]
    arrays = list(windows(np.zeros((5, 4, 4, 3), np.uint8), 2))
    assert [list(split.names) for split in arrays] == [["0", "1"], ["2", "3"], ["4"]]
    assert [list(split.names) for split in windows(here, 2)] == [
        [str(here / "a.png"), str(here / "b.png")],
        [str(here / "deep/er/c.png")],
    ]
    assert [len(split) for split in windows(listed(["a.png"] * 5), 4)] == [4, 1]
    assert next(windows(["not there.png"], 4)).images[0] == Path("not there.png")
    with pytest.raises(DataError, match="image 2 is a float"):
        list(windows(iter(["a.png", "b.png", 1.5]), 2))


def test_many_paths_take_little_more_than_their_texts(tmp_path):
    names = [f"folder/image-{i:06d}.jpg" for i in range(10_000)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    tracemalloc.start()
    found = listed([tmp_path / "list.txt"])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    texts = sum(map(sys.getsizeof, names)) + sum(sys.getsizeof(f"{tmp_path}/{name}") for name in names)
    assert len(found) == 10_000
    assert held < texts + 32 * len(names)  # the lists of names and paths, and the labels
