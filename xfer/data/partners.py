"""Mixup and CutMix of batches that several processes share: partners are drawn over the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from xfer.data.transforms.mix import Mix
from xfer.errors import DataError
from xfer.runtime.distributed import DistributedContext


class Part(NamedTuple):
    """The samples of one batch that a process reads, by the index of each and by how often it came before.

    Args:
        batch: of the whole batch, int64 (N, 2).
        own: the share of this process.
        beside: of the partners that are in the shares of others, int64 (M, 2).
    """

    batch: np.ndarray
    own: slice
    beside: np.ndarray

    @property
    def keys(self) -> np.ndarray:
        """What is read, int64 (n, 2): the share, then what is beside it."""
        return np.concatenate([self.batch[self.own], self.beside])


class Mixing:
    """Mixes the batches of an epoch, of which a process may have a share, as one process would.

    Which images are partners depends on what can be read, and that is known when all processes have read their shares.
    So partners are read ahead as if nothing but what is known already was unreadable; where that was wrong, the others
    are read when it is known. A process reads at most twice its share.

    Args:
        mix: how, or not at all.
        seed: of the loader.
        epoch: which.
        distributed: the processes.
        read: reads a sample by index and by how often it came before; None where it cannot be read.
    """

    def __init__(
        self,
        mix: Mix,
        seed: int,
        epoch: int,
        distributed: DistributedContext,
        read: Callable[[int, int], np.ndarray | None],
    ) -> None:
        self._mix, self._seed, self._epoch, self._distributed, self._read = mix, seed, epoch, distributed, read

    def part(self, batch: np.ndarray, number: int, bad: Collection[int]) -> Part:
        """What this process reads of a batch.

        Args:
            batch: int64 (N, 2), see `Part`.
            number: of the batch.
            bad: indices of samples that are known to be unreadable.
        """
        own = self._distributed.share(len(batch))
        if not self._mix or self._distributed.size == 1:
            return Part(batch, own, batch[:0])
        good = np.flatnonzero(~np.isin(batch[:, 0], list(bad)))
        mine = (good >= own.start) & (good < own.stop)
        others = good[self._mix.partners(len(good), self._rng(number))][mine]
        return Part(batch, own, batch[others[(others < own.start) | (others >= own.stop)]])

    def mixed(
        self,
        images: np.ndarray,
        shares: np.ndarray,
        number: int,
        part: Part,
        beside: Sequence[np.ndarray | None],
        shards: Sequence[np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixed images of this process, and mixed shares of classes of the whole batch.

        Args:
            images: of this process, those that could be read.
            shares: of classes, float64 (N, K), of all images of the batch that could be read.
            number: of the batch.
            part: what was read.
            beside: what is beside the share.
            shards: indices of what each process could read.

        Raises:
            DataError: another process could read an image that this one cannot.
        """
        rng = self._rng(number)
        if len(shards) == 1:
            return self._mix(images, shares, rng)
        partner, rank = self._mix.partners(len(shares), rng), self._distributed.rank
        first = sum(map(len, shards[:rank]))
        mine = slice(first, first + len(images))
        good = part.batch[np.isin(part.batch[:, 0], np.concatenate(shards))]
        known = {tuple(key): image for key, image in zip(good[mine].tolist(), images, strict=True)}
        known |= {tuple(key): image for key, image in zip(part.beside.tolist(), beside, strict=True)}
        others = np.empty_like(images)
        for place, (index, nth) in enumerate(good[partner[mine]].tolist()):
            found = known.get((index, nth))
            if found is None and (found := self._read(index, nth)) is None:
                raise DataError(f"process {rank} cannot read image {index}, which another can: give all the same files")
            others[place] = found
        return self._mix.blend(images, others, shares, partner, rng)

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._epoch, number, 0, 0])
