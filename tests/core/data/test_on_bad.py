"""Images that cannot be read: left out and listed, or the end of it."""

from typing import get_args

import numpy as np
import pytest

import xfer
from tests.suites.command_line import xfer_command
from xfer.data import Data, Loader, OnBad, Skipped, Split
from xfer.errors import DataError, UnknownNameError
from xfer.specs.settings import RunSettings
from xfer.testing import NumpyBackend


@pytest.fixture
def split(photo):
    """20 images, of which numbers 3, 11 and 12 are bytes that hold none."""
    images = [np.asarray(photo(i)) for i in range(20)]
    images[3], images[11], images[12] = b"", b"text", b""
    return Split(images, np.arange(20) % 2, [f"{i:02}.png" for i in range(20)], ("a", "b"))


@pytest.fixture
def network():
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("epoch", range(4))
def test_raise_names_the_first_of_the_order(split, preprocessing, workers, epoch):
    loader = Loader(split, preprocessing, batch_size=2, shuffle=True, workers=workers, on_bad="raise")
    order = loader.order(epoch).tolist()
    first = next(i for i in order if i in (3, 11, 12))
    reason = "not an image that xfer can read" if first == 11 else "the file is empty"
    seen = []
    with pytest.raises(DataError) as error:
        seen.extend(index for batch in loader.epoch(epoch) for index in batch.indices)
    assert str(error.value) == f"cannot read {first:02}.png: {reason}; repair or remove it"
    assert seen == order[: order.index(first) // 2 * 2], "the whole batches before it were given out"
    assert loader.skipped == []


def test_report_is_the_default_and_leaves_out(split, preprocessing):
    for options in ({}, {"on_bad": "report"}):
        loader = Loader(split, preprocessing, batch_size=4, **options)
        assert sum(map(len, loader.epoch(0))) == 17
        assert [bad.name for bad in loader.skipped] == ["03.png", "11.png", "12.png"]


def test_raise_changes_nothing_where_all_can_be_read(split, preprocessing):
    good = split.subset([i for i in range(20) if i not in (3, 11, 12)])
    options = {"batch_size": 4, "shuffle": True, "augment": "light"}
    left, right, _ = (list(Loader(good, preprocessing, on_bad=x, **options).epoch(0)) for x in get_args(OnBad))
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a.images, b.images)


@pytest.mark.parametrize("bad_split", ["train", "val"])
def test_trainer(split, network, bad_split):
    good = split.subset([0, 1, 2, 4, 5])
    splits = {"train": good, "val": good} | {bad_split: split}
    data = Data(splits["train"], splits["val"], None, ("a", "b"), "made")
    strict = xfer.Trainer(network, progress=False, on_bad="raise")
    with pytest.raises(DataError, match=r"cannot read (03|11|12)\.png: "):
        strict.fit(data, 1)
    lenient = xfer.Trainer(network, progress=False)
    assert lenient.fit(data, 1)[0]["images"] == (17 if bad_split == "train" else 5)
    assert len(lenient.skipped) == (3 if bad_split == "train" else 0)


def test_evaluate_and_predict(split, network):
    found = network.evaluate(split)
    assert len(found.labels) == 17
    assert found.skipped[0] == Skipped("03.png", "the file is empty")
    with pytest.raises(DataError, match=r"cannot read 03\.png: the file is empty"):
        network.evaluate(split, on_bad="raise")
    with pytest.raises(DataError, match=r"cannot read 03\.png: the file is empty"):
        network.predict(split)


def test_a_resumed_run_takes_it_as_an_option(split, network, tmp_path):
    data = Data(split, None, None, ("a", "b"), "made")
    run = xfer.Trainer(network, progress=False)
    run.fit(data, 1)
    run.save(tmp_path)
    again = xfer.Trainer.resume(tmp_path, backend=network.backend, progress=False, on_bad="raise")
    with pytest.raises(DataError, match="cannot read"):
        again.fit(data, 1)


def test_other_words_are_refused(split, preprocessing, network):
    with pytest.raises(UnknownNameError, match="unknown on_bad 'rise'; did you mean 'raise'"):
        Loader(split, preprocessing, batch_size=4, on_bad="rise")
    with pytest.raises(UnknownNameError, match="unknown on_bad 'rise'; did you mean 'raise'"):
        xfer.Trainer(network, on_bad="rise")


def test_the_option_of_the_command_line(tmp_path):
    assert RunSettings.model_fields["on_bad"].annotation == OnBad
    result = xfer_command("train", "digits", "--on-bad", "rise", "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "rise" in result.stderr
