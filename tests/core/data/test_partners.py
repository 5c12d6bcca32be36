"""Mixup and CutMix of batches that several processes share are those of one process."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.data import Loader, Split
from xfer.data.images.decode import BadImageError
from xfer.errors import DataError
from xfer.runtime.distributed import DistributedContext
from xfer.specs.preprocessing import Preprocessing

RECIPE = Preprocessing(8, 8, "bilinear")
CLASSES = ("a", "b", "c")


class Threads(DistributedContext):
    """One of several threads in the place of processes."""

    def __init__(self, rank, barrier, given):
        super().__init__(rank, barrier.parties)
        object.__setattr__(self, "meet", (barrier, given))

    def gather(self, thing, what):
        barrier, given = self.meet
        given[self.rank] = thing
        barrier.wait(20)
        told = list(given)
        barrier.wait(20)
        return told


def in_threads(size, work):
    """What `work` makes of each of so many contexts, by rank."""
    barrier, given = threading.Barrier(size), [None] * size

    def run(rank):
        try:
            return work(Threads(rank, barrier, given))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        found = [pool.submit(run, rank) for rank in range(size)]
    errors = [error for each in found if (error := each.exception()) is not None]
    if errors:  # the others only miss the one that it comes from
        raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
    return [each.result() for each in found]


class Pictures:
    """Images of which some cannot be read; counts how often each was tried."""

    def __init__(self, number, bad):
        rng = np.random.default_rng(number)
        self.pixels, self.bad, self.read = rng.integers(0, 256, (number, 8, 8, 3)).astype(np.uint8), bad, []

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        self.read.append(index)
        if index in self.bad:
            raise BadImageError("damaged")
        return self.pixels[index]


def loader(images, distributed=None, **options):
    number = len(images)
    labels = np.arange(number) ** 2 % 5 % 3  # unevenly many of each class
    split = Split(images, labels, [f"{i}.png" for i in range(number)], CLASSES)
    more = {} if distributed is None else {"distributed": distributed}
    return Loader(split, RECIPE, shuffle=True, **options, **more)


def epochs(found, number=2):
    return [batch for epoch in range(number) for batch in found.epoch(epoch)]


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(1, 14),
    bad=st.sets(st.integers(0, 13), max_size=4),
    size=st.integers(2, 4),
    options=st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, 7),
            "mix": st.sampled_from(["mixup=1", "cutmix", "mixup=1,cutmix=1"]),
            "sampling": st.sampled_from(["none", "over"]),
            "augment": st.sampled_from(["none", "flip,crop"]),
            "on_bad": st.sampled_from(["report", "impute"]),
            "workers": st.sampled_from([0, 2]),
            "seed": st.integers(0, 9),
        }
    ),
)
def test_batches_of_several_processes_are_those_of_one(number, bad, size, options):
    if not set(range(number)) - bad and options["on_bad"] == "report":
        return  # nothing can be read, which is an error
    expected = epochs(loader(Pictures(number, bad), **options))
    found = in_threads(size, lambda context: epochs(loader(Pictures(number, bad), context, **options)))
    for whole, *parts in zip(expected, *found, strict=True):
        np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
        for part in parts:
            np.testing.assert_array_equal(part.labels, whole.labels)
            np.testing.assert_array_equal(part.indices, whole.indices)
            assert part.shards == tuple(len(each.images) for each in parts)


def test_a_process_reads_its_share_and_its_partners_once():
    """At most twice its share; once it is known what cannot be read, no more than is used."""

    def reads(context):
        images = Pictures(40, {3, 17})
        own = loader(images, context, batch_size=10, mix="mixup", workers=2)
        list(own.epoch(0))
        images.read.clear()
        return [len(batch.images) for batch in own.epoch(1)], images.read

    for shares, read in in_threads(4, reads):
        assert len(read) <= 2 * sum(shares) + 2  # those that are unreadable are tried again
        assert max(np.bincount(read)) == 1


def test_what_only_one_process_can_read_is_an_error():
    def reads(context):
        found = loader(Pictures(8, set()), context, batch_size=8, mix="mixup")
        if context.rank:  # what the other has read
            found.split.images.bad = set(found.order(0)[:4])
        return list(found.epoch(0))

    with pytest.raises(DataError, match="which another can: give all the same files"):
        in_threads(2, reads)
