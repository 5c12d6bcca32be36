"""Tables and folders of many rows: the same as row by row, and in memory that a million rows leave."""

import csv
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from xfer.data import Loader, Split, load, manifest
from xfer.data.empty import is_empty
from xfer.data.sampling import sample
from xfer.data.sources.assembly import hold_out
from xfer.data.views import _spread
from xfer.errors import DataError
from xfer.features import store

FILES = [f"{folder}{i}.png" for folder in ("", "a/", "a/ä/") for i in range(4)]
rows = st.lists(
    st.tuples(
        st.sampled_from([*FILES, "./a//1.png"]),
        st.sampled_from(["ant", "bee", "cat", "", "NaN", "dög, x"]),
        st.sampled_from(["train", "train", "Training", "val", "test"]),
    ),
    min_size=1,
    max_size=24,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / name)
    return root


def by_rows(table: list[dict[str, str]], val: float) -> dict[str, object] | str:
    """What a table means, row by row with lists and dictionaries; or a part of the error."""
    key = {"training": "train"}
    parts: dict[str, list[tuple[str, str | None]]] = {"train": [], "val": [], "test": []}
    for row in table:
        split = row["split"].lower()
        label = None if is_empty(row["label"]) else row["label"]
        parts[key.get(split, split)].append((Path(row["image"]).as_posix(), label))
    train = parts["train"]
    if not train:
        return "lists no training images"
    classes = sorted({label for _, label in train if label is not None})
    if not classes:
        return "has no label in train"
    if len(classes) < 2:
        return "has one class"
    for split in ("train", "val", "test"):
        for name, label in parts[split]:
            if label is not None and label not in classes:
                return f"label '{label}' of '{name}' in {split} is not among the {len(classes)} classes"
    found = {
        split: ([n for n, _ in part], [-1 if c is None else classes.index(c) for _, c in part])
        for split, part in parts.items()
        if part
    }
    if "val" not in found and val:
        listed, labels = found["train"][0], np.array(found["train"][1])
        firsts: dict[str, int] = {}
        first = np.array([firsts.setdefault(name, i) for i, name in enumerate(listed)])
        alone = np.unique(first)
        try:
            _, held = hold_out(labels[alone], val, 3)
        except DataError as error:
            return str(error).partition(" are too few")[0].partition(" ")[2]
        is_held = np.isin(first, alone[held])
        for split, chosen in (("train", np.flatnonzero(~is_held)), ("val", np.flatnonzero(is_held))):
            found[split] = ([listed[i] for i in chosen], labels[chosen].tolist())
    both = {
        (a, b): len(set(dict(parts[a])) & set(dict(parts[b])))
        for a, b in (("train", "val"), ("train", "test"), ("val", "test"))
    }
    # Found before the hold-out, from the splits that the table has.
    remarks = [f"{number} files are both in {a} and in {b}" for (a, b), number in both.items() if number]
    return {"classes": classes, "remarks": sorted(remarks), **found}


@example([("0.png", "", "train"), ("0.png", "ant", "train"), ("0.png", "bee", "train")], 0.3, ".csv")  # no first label
@given(rows, st.sampled_from([0.0, 0.3]), st.sampled_from([".csv", ".parquet"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_table_means_what_it_means_row_by_row(folder, given, val, suffix):
    table = [dict(zip(("image", "label", "split"), row, strict=True)) for row in given]
    file = folder / f"t{suffix}"
    if suffix == ".csv":
        with file.open("w", newline="", encoding="utf-8") as text:
            writer = csv.DictWriter(text, ["image", "label", "split"])
            writer.writeheader()
            writer.writerows(table)
    else:
        frame = pandas.DataFrame(table)
        frame["label"] = frame["label"].astype("category" if len(given) % 2 else "str")
        frame.to_parquet(file, row_group_size=5)
    expected = by_rows(table, val)
    if isinstance(expected, str):
        with pytest.raises(DataError) as raised:
            manifest(file, val=val, seed=3)
        assert expected in str(raised.value)
        return
    data = manifest(file, val=val, seed=3)
    assert list(data.classes) == expected["classes"]
    assert sorted(note for note in data.notes if "are both in" in note) == expected["remarks"]
    for name in ("train", "val", "test"):
        split = data.splits.get(name)
        assert (split is None) == (name not in expected)
        if split is not None:
            assert (list(split.names), split.labels.tolist()) == expected[name]
            assert [split.images[i] for i in range(len(split))] == [folder / each for each in split.names]


def test_arrow_keeps_texts_in_many_forms(folder):
    import pyarrow
    from pyarrow import parquet

    images = ["0.png", "1.png", "2.png", "3.png"]
    for kind in ("string", "large_string", "dictionary", "string_view"):
        column = pyarrow.array(["x", None, "y", ""])
        column = column.dictionary_encode() if kind == "dictionary" else column.cast(kind)
        parquet.write_table(pyarrow.table({"image": images, "label": column}), folder / "t.parquet")
        data = manifest(folder / "t.parquet", val=0)
        assert data.train.labels.tolist() == [0, -1, 1, -1], kind


@given(st.lists(st.integers(-1, 3), max_size=20).map(np.array), st.sampled_from(["over", "under", "balanced"]))
def test_an_epoch_of_equal_classes_is_drawn_class_by_class(labels, kind):
    labels = labels.astype(np.int64)
    labels = labels[labels >= 0]
    found = sample(labels, kind, np.random.default_rng(1))
    rng, taken, sizes = np.random.default_rng(1), [], np.unique(labels, return_counts=True)[1]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        quota = {"over": sizes.max(), "under": sizes.min(), "balanced": len(labels) // len(sizes)}[kind]
        whole, rest = divmod(int(quota), len(members))
        taken += [*np.tile(members, whole).tolist(), *rng.permutation(members)[:rest].tolist()]
    assert found.tolist() == sorted(taken)


def test_cached_rows_are_found_whatever_their_first_bytes(tmp_path):
    rng = np.random.default_rng(0)
    alike = [bytes(8) + rng.bytes(24) for _ in range(5)]  # found by their first eight bytes
    others = [rng.bytes(32) for _ in range(300)]
    for part in (alike[:3] + others[:200], others[200:]):
        with store.Writer(tmp_path) as out:
            out.append(part, np.array([[part[i][-1]] for i in range(len(part))], np.float32))
    wanted = {*alike, *others[100:], bytes(32)}
    found = store.find(tmp_path, wanted)
    assert set(found.places) == wanted - {bytes(32), *alike[3:]}
    for digest, (number, row) in found.places.items():
        assert found.stores[number][row].tolist() == [digest[-1]]
        assert found.places[digest] == (number, row)
    assert not store.find(tmp_path, set()).places


# Bytes a row, and the images that a test has: what is there anyway, such as modules, does not count.
def photos(root: Path, number: int) -> Path:
    """Folders of links to one picture, and tables of them."""
    Image.new("RGB", (16, 16)).save(root / "one.jpg")
    names = [f"photos/class{i % 50:02d}/a-photograph-{i:09d}.jpg" for i in range(number)]
    for i in range(50):
        (root / f"photos/class{i:02d}").mkdir(parents=True)
    source = root / "one.jpg"
    for i, name in enumerate(names):
        if i % 30_000 == 0:  # file systems bear 65,000 links of a file
            source = root / f"one{i}.jpg"
            source.write_bytes((root / "one.jpg").read_bytes())
        os.link(source, root / name)
    frame = pandas.DataFrame({"image": names, "label": [name[7:14] for name in names]})
    frame = frame.sample(frac=1, random_state=0)
    frame.to_csv(root / "t.csv", index=False)
    frame.to_parquet(root / "t.parquet", index=False)
    return root


def memory(root: Path, source: str, preprocessing) -> tuple[float, float]:
    """Bytes that reading, splitting and the first batch of a shuffled epoch take: at most, and afterwards."""
    tracemalloc.start()
    try:
        data = load(root / source)
        batches = Loader(data.train, preprocessing, batch_size=8, shuffle=True, workers=2).epoch(0)
        assert next(batches).images.shape == (8, 32, 32, 3)
        now, peak = tracemalloc.get_traced_memory()
        batches.close()
    finally:
        tracemalloc.stop()
    return peak, now


@pytest.mark.parametrize("source", ["t.csv", "t.parquet", "photos"])
def test_memory_of_a_row(tmp_path, preprocessing, source):
    """Between two sizes, so that what does not depend on the rows is not counted."""
    for number in (2_000, 12_000):
        (tmp_path / str(number)).mkdir()
        photos(tmp_path / str(number), number)
    memory(tmp_path / "2000", source, preprocessing)  # what is imported on the way
    less, more = (memory(tmp_path / str(n), source, preprocessing) for n in (2_000, 12_000))
    peak, kept = ((b - a) / 10_000 for a, b in zip(less, more, strict=True))
    assert peak < 250, f"{peak:.0f} bytes a row"
    assert kept < 100, f"{kept:.0f} bytes a row"


@pytest.mark.long
@pytest.mark.parametrize("source", ["t.csv", "t.parquet", "photos"])
def test_a_million_rows_take_less_than_400_bytes_each(tmp_path, preprocessing, source):
    for number in (1_000, 1_000_000):
        (tmp_path / str(number)).mkdir()
        photos(tmp_path / str(number), number)
    memory(tmp_path / "1000", source, preprocessing)  # what is imported on the way
    peak, kept = memory(tmp_path / "1000000", source, preprocessing)
    assert peak / 1e6 < 250, f"{peak / 1e6:.0f} bytes a row"
    assert kept / 1e6 < 100, f"{kept / 1e6:.0f} bytes a row"


def test_an_epoch_does_not_become_python_objects(preprocessing):
    """Of 100,000 samples 16 bytes each for the order, and 8 while it is made."""
    number = 100_000
    split = Split(np.zeros((number, 1), np.float32), np.zeros(number), [""] * number, ("x", "y"), after="features")
    loader = Loader(split, preprocessing, batch_size=100, shuffle=True)
    next(loader.epoch(0))
    tracemalloc.start()
    try:
        batches = loader.epoch(1)
        next(batches)
        assert tracemalloc.get_traced_memory()[1] / number < 40
    finally:
        tracemalloc.stop()


def test_memory_of_the_index_of_cached_features(tmp_path):
    number = 20_000
    content = np.random.default_rng(0).bytes(32 * number)
    digests = [content[32 * i : 32 * i + 32] for i in range(number)]
    with store.Writer(tmp_path) as out:
        out.append(digests, np.zeros((number, 4), np.float32))
    wanted = set(digests)
    store.find(tmp_path, wanted)
    tracemalloc.start()
    try:
        found = store.find(tmp_path, wanted)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.places) == number
    assert now / number < 150
    assert peak / number < 350


labels = st.lists(st.integers(-1, 3), min_size=1, max_size=25).map(lambda given: np.array(given, np.int64))


@given(labels, st.integers(1, 30), st.integers(0, 5))
def test_a_limit_is_in_proportion_class_by_class(labels, n, seed):
    whole = Split([b""] * len(labels), labels, [str(i) for i in range(len(labels))], ("a", "b", "c", "d"))
    shuffled, share = np.random.default_rng(seed).permutation(len(labels)), np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        share[members] = np.arange(len(members)) / len(members)
    expected = np.sort(shuffled[np.argsort(share[shuffled], kind="stable")[:n]])
    assert list(whole.limit(n, seed).names) == [str(i) for i in expected]


@given(labels, st.integers(0, 5))
def test_samples_are_of_each_class_in_turn(labels, seed):
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    turn = {label: place for place, label in enumerate(rng.permutation(np.unique(labels)).tolist())}
    taken, keys = dict.fromkeys(turn, 0), []
    for index in shuffled.tolist():
        keys.append((taken[int(labels[index])], turn[int(labels[index])], index))
        taken[int(labels[index])] += 1
    assert _spread(labels, seed).tolist() == [index for *_, index in sorted(keys)]
