"""Images kept from epoch to epoch: the same pixels, without decoding them again, within a budget."""

import io
import threading
from typing import get_args

import numpy as np
import pytest

import xfer
from xfer.data import Budget, Data, Loader, OnBad, Split
from xfer.data import loader as loader_module
from xfer.data.images.decode import decode
from xfer.data.transforms.test_time import TestTimeView
from xfer.errors import DataError, UsageError
from xfer.runtime.profiling import available_memory
from xfer.testing import NumpyBackend

PLENTY = 1 << 30
SIZE = 32 * 32 * 3  # final pixels
PADDED = 4  # bytes of a pixel of Pillow's


@pytest.fixture
def files(photo):
    """24 encoded images of 48 x 40 pixels, twice as many of class 0 as of class 1."""
    images = []
    for i in range(24):
        buffer = io.BytesIO()
        photo(i).save(buffer, "JPEG" if i % 2 else "PNG")
        images.append(buffer.getvalue())
    return Split(images, np.array([0, 0, 1] * 8), [f"{i:02}" for i in range(24)], ("a", "b"))


@pytest.fixture
def damaged(files):
    images = list(files.images)
    images[3], images[11] = b"", b"text"
    return Split(images, files.labels, files.names, files.classes)


@pytest.fixture
def decoded(monkeypatch):
    """What has been decoded, in a list that fills."""
    seen = []

    def watched(source, *options):
        seen.append(source)
        return decode(source, *options)

    monkeypatch.setattr(loader_module, "decode", watched)
    return seen


def epochs(split, preprocessing, memory, **options):
    loader = Loader(split, preprocessing, batch_size=5, memory=memory, **options)
    return [batch for epoch in range(3) for batch in loader.epoch(epoch, 1 if epoch == 1 else 0)], loader


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize("size", [PLENTY, 7 * 4 * 48 * 40, 9000])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": True, "augment": "strong"},
        {"augment": "flip,rotate=10,color=0.3,erase=1"},
        {"augment": TestTimeView(flip=True, corner=(1.0, 0.0))},
        {"shuffle": True, "sampling": "over", "augment": "light"},
        {"shuffle": True, "sampling": "under", "augment": "flip", "augment_minority": "strong"},
        {"shuffle": True, "mix": "mixup,cutmix"},
    ],
)
def test_the_same_pixels(damaged, preprocessing, options, size, workers):
    for on_bad in ("report", "impute"):
        kept, a = epochs(damaged, preprocessing, Budget(size), workers=workers, on_bad=on_bad, **options)
        read, b = epochs(damaged, preprocessing, None, on_bad=on_bad, **options)
        assert a.memory.used > 0
        assert len(kept) == len(read)
        for x, y in zip(kept, read, strict=True):
            np.testing.assert_array_equal(x.images, y.images)
            np.testing.assert_array_equal(x.labels, y.labels)
            np.testing.assert_array_equal(x.indices, y.indices)
        assert a.skipped == b.skipped
        assert len(a.skipped) == 2


def test_raise_stops_at_the_same_image(damaged, preprocessing):
    assert "raise" in get_args(OnBad)
    for memory in (None, Budget(PLENTY)):
        loader = Loader(damaged, preprocessing, batch_size=5, memory=memory, on_bad="raise")
        for _ in range(2):
            with pytest.raises(DataError, match="cannot read 03: the file is empty"):
                list(loader.epoch(0))


@pytest.mark.parametrize("workers", [0, 4])
@pytest.mark.parametrize(("augment", "size"), [("none", SIZE), ("flip", PADDED * 32 * 32), ("light", PADDED * 48 * 40)])
def test_each_image_is_decoded_once_and_counted(files, preprocessing, decoded, augment, size, workers):
    memory = Budget(PLENTY)
    _, loader = epochs(files, preprocessing, memory, shuffle=True, augment=augment, workers=workers)
    assert len(decoded) == len(set(decoded)) == 24
    assert memory.used == 24 * size == sum(map(bytes_of, loader._kept.values()))


def bytes_of(kept):
    return kept.nbytes if isinstance(kept, np.ndarray) else PADDED * kept.width * kept.height


def test_what_fits_is_kept_and_the_rest_decoded_again(files, preprocessing, decoded):
    memory = Budget(10 * SIZE + SIZE - 1)
    loader = Loader(files, preprocessing, batch_size=4, memory=memory, workers=2)
    for _ in range(3):
        list(loader.epoch(0))
    assert memory.used == 10 * SIZE
    assert len(decoded) == 24 + 14 + 14


def test_an_image_that_two_threads_decode_at_once_is_counted_once(files, preprocessing):
    both = threading.Barrier(2, timeout=30)

    class Together:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            if index == 0:
                both.wait()  # the second repetition is decoded before the first is kept
            return files.images[index]

    memory = Budget(PLENTY)
    split = Split(Together(), [0, 1, 1], list("abc"))
    (batch,) = Loader(split, preprocessing, batch_size=4, sampling="over", workers=2, memory=memory).epoch(0)
    assert batch.indices.tolist() == [0, 0, 1, 2]
    assert memory.used == 3 * SIZE


def test_loaders_share_a_budget(files, preprocessing):
    memory = Budget(30 * SIZE)
    loaders = [Loader(files, preprocessing, batch_size=8, memory=memory) for _ in range(2)]
    assert [len(list(loader.epoch(0))) for loader in loaders] == [3, 3]
    assert [len(loader._kept) for loader in loaders] == [24, 6]


def test_a_single_pass_keeps_nothing(files, preprocessing, decoded):
    for memory in (None, Budget(0)):
        _, loader = epochs(files, preprocessing, memory)
        assert loader._kept == {}
    assert len(decoded) == 2 * (24 + 19 + 24)


def test_pixels_that_a_data_set_makes_anew_each_time_are_not_kept(preprocessing, photo):
    class Changing:
        calls = 0

        def __len__(self):
            return 4

        def __getitem__(self, index):
            Changing.calls += 1
            return np.asarray(photo(Changing.calls))

    memory = Budget(PLENTY)
    loader = Loader(Split(Changing(), [0] * 4, list("abcd")), preprocessing, batch_size=4, memory=memory)
    (first,), (second,) = loader.epoch(0), loader.epoch(0)
    assert memory.used == 0
    assert (first.images != second.images).any()


def test_a_file_that_changes_is_noticed_by_the_next_loader(tree, preprocessing, photo):
    split = xfer.data.folder(tree({"a": 2, "b": 2}), val=0).train
    loader = Loader(split, preprocessing, batch_size=4, memory=Budget(PLENTY))
    (before,) = loader.epoch(0)
    photo(99).save(split.images[0])
    (after,) = loader.epoch(1)
    np.testing.assert_array_equal(before.images, after.images)
    (anew,) = Loader(split, preprocessing, batch_size=4).epoch(0)
    assert (anew.images[0] != before.images[0]).any()


@pytest.mark.parametrize("augment", ["none", "light"])
def test_a_fit_decodes_once_and_learns_the_same(files, decoded, augment):
    data = Data(files, files.subset(range(6)), None, ("a", "b"), "made")

    def fit(epochs, **options):
        model = xfer.load(
            "tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16, precision="fp64"
        )
        decoded.clear()
        trainer = xfer.Trainer(model, progress=False, augment=augment, workers=2, cache=False, **options)
        rows = trainer.fit(data, epochs)
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows], len(decoded)

    kept, read = fit(3), fit(3, image_memory=0)
    assert kept[0] == read[0]
    assert (kept[1], read[1]) == (30, 90)
    assert fit(1)[1] == 30


def test_sizes(files):
    assert Budget.of(0).size == 0
    assert Budget.of(1.5).size == 3 << 29
    assert 0 < Budget.of(None).size <= 2 << 30
    free = available_memory()
    assert free is None or Budget.of(None).size <= free
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)
    for wrong in (-1, float("nan")):
        with pytest.raises(
            UsageError, match=r"image_memory=(-1: give at least 0|nan: input should be a finite number)"
        ):
            xfer.Trainer(model, image_memory=wrong)
