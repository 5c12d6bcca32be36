import gc
import threading

import numpy as np
import pytest
from PIL import Image

from xfer.data import Augment, Loader, Skipped, Split, folder, pictures
from xfer.data.images.decode import decode
from xfer.errors import DataError, UsageError


@pytest.fixture
def split(photo):
    images = [np.asarray(photo(i)) for i in range(23)]
    return Split(images, np.arange(23) % 3, [f"{i:02}" for i in range(23)])


@pytest.fixture(autouse=True)
def no_thread_survives():
    before = threading.active_count()
    yield
    gc.collect()
    assert threading.active_count() == before


def load(split, preprocessing, epoch=0, start=0, **options):
    loader = Loader(split, preprocessing, batch_size=5, **options)
    return list(loader.epoch(epoch, start))


def assert_same(left, right):
    assert [b.number for b in left] == [b.number for b in right]
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a.indices, b.indices)
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.images, b.images)


def test_batches_hold_every_image_once(split, preprocessing):
    batches = load(split, preprocessing, shuffle=True, seed=1)
    assert [len(b) for b in batches] == [5, 5, 5, 5, 3]
    assert [b.number for b in batches] == [0, 1, 2, 3, 4]
    indices = np.concatenate([b.indices for b in batches])
    assert sorted(indices) == list(range(23))
    assert indices.tolist() == np.random.default_rng([1, 0]).permutation(23).tolist()
    for batch in batches:
        assert batch.images.shape == (len(batch), 32, 32, 3)
        assert (batch.images.dtype, batch.labels.dtype, batch.indices.dtype) == (np.uint8, np.int64, np.int64)
        np.testing.assert_array_equal(batch.labels, batch.indices % 3)


def test_each_image_is_a_function_of_seed_epoch_and_index(split, preprocessing):
    for batch in load(split, preprocessing, epoch=4, shuffle=True, augment="strong", seed=7, workers=2):
        for index, pixels in zip(batch.indices.tolist(), batch.images, strict=True):
            rng = np.random.default_rng([7, 4, index])
            expected = Augment.parse("strong")(decode(split.images[index]), preprocessing, rng)
            np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("workers", [1, 2, 4, None])
def test_workers_change_nothing(split, preprocessing, workers):
    options = {"epoch": 2, "shuffle": True, "augment": "light", "seed": 3}
    assert_same(
        load(split, preprocessing, workers=workers, **options), load(split, preprocessing, workers=0, **options)
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [0, 2, 4, 5])
def test_an_epoch_begins_anywhere_without_reading_what_came_before(split, preprocessing, workers, start):
    read = []

    class Watched:
        def __len__(self):
            return 23

        def __getitem__(self, index):
            read.append(index)
            return split.images[index]

    watched = Split(Watched(), split.labels, split.names)
    options = {"epoch": 1, "shuffle": True, "augment": "light"}
    rest = load(watched, preprocessing, start=start, workers=workers, **options)
    assert_same(rest, load(split, preprocessing, **options)[start:])
    assert sorted(read) == sorted(np.concatenate([[], *(b.indices for b in rest)]))


def test_epochs_and_seeds_differ(split, preprocessing):
    def pixels(epoch, seed):
        return np.concatenate(
            [b.images for b in load(split, preprocessing, epoch=epoch, seed=seed, shuffle=True, augment="light")]
        ).tobytes()

    assert len({pixels(0, 0), pixels(1, 0), pixels(0, 1)}) == 3
    still = [load(split, preprocessing, epoch=epoch) for epoch in (0, 1)]
    assert_same(*still)


def test_length_and_drop_last(split, preprocessing):
    assert len(Loader(split, preprocessing, batch_size=5)) == 5
    assert len(Loader(split, preprocessing, batch_size=5, drop_last=True)) == 4
    assert [len(b) for b in load(split, preprocessing, drop_last=True, shuffle=True)] == [5, 5, 5, 5]
    assert len(Loader(split.subset([]), preprocessing, batch_size=5)) == 0
    assert load(split.subset([]), preprocessing, workers=2) == []


def bad_tree(root, photo):
    for name in ("ant", "bee"):
        (root / name).mkdir()
    photo(0).save(root / "ant/a.jpg")
    photo(1).convert("CMYK").save(root / "ant/cmyk.jpg")
    Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 20).save(root / "ant/deep.png")
    photo(2).quantize(8).save(root / "ant/palette.png")
    photo(3).convert("L").save(root / "bee/grey.webp")
    photo(4).convert("RGBA").save(root / "bee/alpha.png")
    photo(5).save(root / "bee/moving.gif", save_all=True, append_images=[photo(6)])
    photo(7).save(root / "bee/good.tif")
    whole = (root / "ant/a.jpg").read_bytes()
    (root / "ant/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "bee/empty.png").write_bytes(b"")
    (root / "bee/text.jpg").write_text("I am no image")
    (root / "ant/gone.png").symlink_to(root / "nowhere.png")
    return folder(root, val=0).train


@pytest.mark.parametrize("workers", [0, 3])
def test_unreadable_images_are_left_out_and_told(tmp_path, photo, preprocessing, workers):
    split = bad_tree(tmp_path, photo)
    loader = Loader(split, preprocessing, batch_size=4, workers=workers, shuffle=True)
    for epoch in range(3):
        batches = list(loader.epoch(epoch))
        assert sum(map(len, batches)) == 8
        assert len(loader.skipped) == 4
        assert sum(map(len, batches)) + len(loader.skipped) == len(split)
        for batch in batches:
            np.testing.assert_array_equal(batch.labels, split.labels[batch.indices])
            assert set(batch.indices) <= set(loader.order(epoch)[batch.number * 4 : batch.number * 4 + 4])
    assert [skipped.name for skipped in loader.skipped] == [
        "ant/cut.jpg",
        "ant/gone.png",
        "bee/empty.png",
        "bee/text.jpg",
    ]
    assert loader.skipped[1:] == [
        Skipped("ant/gone.png", "a link to something that is not there"),
        Skipped("bee/empty.png", "the file is empty"),
        Skipped("bee/text.jpg", "not an image that xfer can read"),
    ]


def test_an_empty_batch_leaves_a_gap_in_the_numbers(preprocessing, photo):
    images = [np.asarray(photo(0)), b"bad", b"bad", np.asarray(photo(1))]
    loader = Loader(Split(images, [0] * 4, list("abcd")), preprocessing, batch_size=1)
    assert [(b.number, b.indices.tolist()) for b in loader.epoch(0)] == [(0, [0]), (3, [3])]


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_readable_is_an_error(preprocessing, workers):
    loader = Loader(pictures([b"bad", b""]), preprocessing, batch_size=4, workers=workers)
    with pytest.raises(DataError, match="none of the 2 images can be read; the first, 0: not an image"):
        list(loader.epoch(0))


def test_threads_end_when_the_consumer_stops(split, preprocessing):
    before = threading.active_count()
    loader = Loader(split, preprocessing, batch_size=2, workers=3)
    for _ in loader.epoch(0):
        assert threading.active_count() > before
        break
    gc.collect()
    assert threading.active_count() == before
    iterator = loader.epoch(0)
    next(iterator)
    iterator.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
def test_other_errors_pass_through_and_end_the_threads(split, preprocessing, workers, error):
    class Breaking:
        def __len__(self):
            return 23

        def __getitem__(self, index):
            if index == 12:
                raise error
            return split.images[index]

    before = threading.active_count()
    loader = Loader(Split(Breaking(), split.labels, split.names), preprocessing, batch_size=5, workers=workers)
    iterator = loader.epoch(0)
    assert [next(iterator).number, next(iterator).number] == [0, 1]
    with pytest.raises(type(error)):
        next(iterator)
    assert threading.active_count() == before
    assert loader.skipped == []


def test_decoding_runs_ahead_but_not_far(preprocessing, photo):
    read = []
    image = np.asarray(photo())

    class Watched:
        def __len__(self):
            return 1000

        def __getitem__(self, index):
            read.append(index)
            return image

    watched = Split(Watched(), np.zeros(1000), [str(i) for i in range(1000)])
    iterator = Loader(watched, preprocessing, batch_size=4, workers=2).epoch(0)
    next(iterator)
    next(iterator)
    iterator.close()
    assert len(read) <= 8 + 2 * 4 + 1


def test_wrong_numbers(split, preprocessing):
    for options, message in (
        ({"batch_size": 0}, "batch_size=0: give 1 or more"),
        ({"batch_size": 2, "seed": -1}, "seed=-1: give 0 or more"),
        ({"batch_size": 2, "workers": -2}, "workers=-2: give a number of threads"),
        ({"batch_size": 50, "drop_last": True}, "drop_last leaves nothing of 23 images in batches of 50"),
    ):
        with pytest.raises(UsageError, match=message):
            Loader(split, preprocessing, **options)
    with pytest.raises(UsageError, match="start=6: an epoch has 5 batches, give 0 to 5"):
        Loader(split, preprocessing, batch_size=5).epoch(0, start=6)
