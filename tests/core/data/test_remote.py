"""Data under URLs is the data of the same files on this machine."""

import sys

import fsspec
import numpy as np
import pandas
import pytest
from PIL import Image

import xfer
from tests.suites.stores import STORES, s3, store, upload
from xfer.data import Loader
from xfer.data.sources.lists import listed
from xfer.errors import DataError, UsageError
from xfer.features.cache import FeatureCache
from xfer.runtime.remote import RemotePath
from xfer.specs.preprocessing import Preprocessing
from xfer.testing import NumpyBackend


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Class folders, tables and lists, with what is left out of them and a file that is no image."""
    root, rng = tmp_path_factory.mktemp("local"), np.random.default_rng(0)
    for i in range(18):
        place = root / "photos" / ("val" if i > 13 else "train") / "ab"[i % 2] / ("deep" if i % 5 == 0 else "")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(place / f"{i:02} ü.png")
    (root / "photos/train/a/broken.png").write_bytes(b"no image")
    (root / "photos/train/a/notes.txt").write_text("notes")
    (root / "photos/train/.hidden").mkdir()
    (root / "photos/train/.hidden/x.png").write_bytes(b"x")
    names = sorted(
        path.relative_to(root).as_posix() for path in root.glob("photos/train/**/*.png") if path.parent.name[0] != "."
    )
    table = pandas.DataFrame({"image": names, "label": ["ab"["/b/" in name] for name in names]})
    table.to_csv(root / "table.csv", index=False)
    table.to_parquet(root / "table.parquet")
    (root / "images.txt").write_text("\n".join([*names, "nowhere.png"]))
    return root


@pytest.fixture(scope="module", params=STORES)
def remote(request, local, tmp_path_factory):
    with store(request.param, tmp_path_factory.mktemp("store")) as url:
        upload(local, url)
        yield url


def pixels(split):
    loader = Loader(split, Preprocessing(16, 16), batch_size=4, workers=2)
    batches = [batch.images for batch in loader.epoch(0)]
    return np.concatenate(batches), [(bad.name, bad.reason) for bad in loader.skipped]


def check_same(one, other):
    """The same lists, labels, notes and pixels."""
    assert one.classes == other.classes
    assert one.notes == other.notes
    for name, split in other.splits.items():
        assert one.splits[name].fingerprint() == split.fingerprint()
        assert list(one.splits[name].names) == list(split.names)
        found, skipped = pixels(one.splits[name])
        expected, left_out = pixels(split)
        np.testing.assert_array_equal(found, expected)
        assert skipped == left_out


def test_folders(local, remote):
    check_same(xfer.data.folder(f"{remote}/photos/"), xfer.data.folder(local / "photos"))
    check_same(xfer.data.load(f"{remote}/photos/train", val=0.3), xfer.data.load(local / "photos/train", val=0.3))


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_tables(local, remote, name):
    check_same(xfer.data.load(f"{remote}/{name}"), xfer.data.load(local / name))
    # A table on this machine names what is under a URL, if that is given as the root.
    check_same(xfer.data.manifest(local / name, root=remote), xfer.data.load(local / name))


def test_a_table_of_urls(local, remote, tmp_path):
    table = pandas.read_csv(local / "table.csv")
    names = [f"{remote}/{name}" for name in table["image"]]
    table.assign(image=names).to_csv(tmp_path / "urls.csv", index=False)
    data = xfer.data.manifest(tmp_path / "urls.csv", root=remote)
    by_path = xfer.data.load(local / "table.csv", val=0)
    whole = xfer.data.manifest(tmp_path / "urls.csv", root=remote, val=0)
    np.testing.assert_array_equal(pixels(whole.train)[0], pixels(by_path.train)[0])
    assert set(data.train.names) < set(names)
    fsspec.filesystem("memory").pipe_file("/other/x", b"")
    with pytest.raises(DataError, match="give the folder that it is in as root"):
        xfer.data.manifest(tmp_path / "urls.csv", root="memory://other")
    with pytest.raises(DataError, match="there is no file"):
        xfer.data.manifest(tmp_path / "urls.csv")


def test_images_that_are_named(local, remote):
    names = ["images.txt", "photos/val", "photos/train/a/deep/00 ü.png"]
    found, expected = (listed([f"{root}/{name}" for name in names]) for root in (remote, local))
    there, missing = pixels(found)
    np.testing.assert_array_equal(there, pixels(expected)[0])
    assert ("nowhere.png", "there is no such file") in missing
    assert len(missing) == 2
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)
    for given in (
        lambda root: f"{root}/photos/val",
        lambda root: [f"{root}/{names[2]}"],
        lambda root: f"{root}/{names[2]}",
    ):
        np.testing.assert_array_equal(model.predict_proba(given(remote)), model.predict_proba(given(local)))
    one = next(iter(model.predict_iter(iter([f"{remote}/{names[2]}"]))))
    assert one.top == model.predict(local / names[2])[0].top


def test_a_list_on_this_machine_asks_nothing_of_others(remote, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images.txt").write_text(f"{remote}/photos/val/a/14 ü.png")
    (tmp_path / "images.csv").write_text(f"image\n{remote}/photos/val/a/14 ü.png\n")
    for name in ("images.txt", "images.csv"):
        loader = Loader(listed([name]), Preprocessing(16, 16), batch_size=4)
        assert [*loader.epoch(0, allow_nothing=True)] == []
        assert [bad.reason for bad in loader.skipped] == ["there is no such file"]


def test_cached_features_are_those_of_the_same_bytes(local, remote, tmp_path):
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)
    cache = FeatureCache(tmp_path)
    made = cache.fill(model, xfer.data.folder(local / "photos"), workers=0)
    found = cache.fill(model, xfer.data.folder(f"{remote}/photos"), workers=0)
    assert (found.there, found.computed, found.unreadable) == (made.computed, 0, 1)


def test_errors_are_one_line(monkeypatch, local):
    with s3() as url:
        for address, expected in (
            (f"{url}/nowhere", "s3://bucket/nowhere does not exist: check the address"),
            ("s3://nobody/photos", "s3://nobody/photos does not exist: check the address"),
        ):
            with pytest.raises(DataError) as caught:
                xfer.data.folder(address)
            assert str(caught.value) == expected
        fsspec.filesystem("s3").pipe_file("bucket/table.csv", b"image,label\nx.png,a\ny.png,b\n")
        with pytest.raises(DataError, match=r"line 2: column 'image': there is no file 'x.png' in s3://bucket$"):
            xfer.data.load(f"{url}/table.csv")
    for address, expected in (
        ("nothing://bucket/photos", "nothing://bucket/photos: Protocol not known: nothing"),
        ("gs://bucket/photos", "gs://bucket/photos needs a package for gs://: pip install gcsfs"),
        (
            "zip://x::memory://y",
            "zip://x::memory://y is a chain of URLs: give a single one, such as s3://bucket/folder",
        ),
    ):
        with pytest.raises(UsageError) as refused:
            xfer.data.folder(address)
        assert str(refused.value) == expected
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UsageError, match=r'^memory://x is read by fsspec: pip install "xfer-learn\[remote\]"$'):
        xfer.data.folder("memory://x")


def test_a_store_that_fails_stops_the_pass(monkeypatch, local):
    """An image that a connection has lost is not one that cannot be read."""
    with store("memory", None) as url:
        upload(local, url)
        data = xfer.data.folder(f"{url}/photos")

        def fail(*arguments, **options):
            raise ConnectionError("the connection broke")

        monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
        with pytest.raises(DataError, match=r"^cannot read memory://.*: the connection broke$"):
            pixels(data.train)


def test_paths():
    path = RemotePath("S3://bucket/a/b.csv/")
    assert (str(path), path.name, path.suffix, str(path.parent)) == (
        "s3://bucket/a/b.csv",
        "b.csv",
        ".csv",
        "s3://bucket/a",
    )
    assert str(RemotePath("s3://bucket").parent) == "s3://bucket"
    assert str(path.parent / "c") == "s3://bucket/a/c"
