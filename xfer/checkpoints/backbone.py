"""The tensors that a checkpoint of adapters leaves out, because the weights that the run began with have them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xfer.errors import WeightsError, XferError
from xfer.zoo import Card


@dataclass(frozen=True)
class Backbone:
    """What the manifest says of them.

    Args:
        weights: where they are, as `xfer.load` takes it: a published entry, a file of the hub at a commit, or a path.
        tensors: their names.
        sha256: of them all.
    """

    weights: str
    tensors: tuple[str, ...]
    sha256: str


@dataclass(eq=False)
class Original:
    """The weights that a network was loaded with, where they can be read again.

    Args:
        weights: see `Backbone`.
        read: gives the tensors of such weights by canonical name.
    """

    weights: str
    read: Callable[[Card, str], Mapping[str, np.ndarray]]
    _digests: dict[str, tuple[str, str]] | None = field(default=None, repr=False)
    _read: tuple[int, ...] = field(default=(), repr=False)  # the file, when its digests were taken

    def unchanged(self, card: Card, tensors: Mapping[str, np.ndarray]) -> Backbone | None:
        """Those of a network's tensors below the head that are bitwise those of the weights.

        None where there are none, or the weights cannot be read any more.
        """
        if self._digests is None or self._read != self._file():  # not at each checkpoint: all are read
            self._read, self._digests = self._file(), self._of_weights(card, tensors)
        there = {name: both for name, both in self._digests.items() if name in tensors}
        same = {name: given for name, (given, held) in there.items() if _of(tensors[name]) == held}
        return Backbone(self.weights, tuple(same), _together(same)) if same else None

    def tensors(self, card: Card, expected: Backbone, run: object) -> dict[str, np.ndarray]:
        """The tensors that a checkpoint has left out.

        Args:
            card: of its network.
            expected: what its manifest says.
            run: where it is, for messages.

        Raises:
            WeightsError: the weights are not at hand, or have changed.
        """
        begun = f"{run} holds adapters and a head for the weights {self.weights!r}"
        try:
            given = self.read(card, self.weights)
        except XferError as error:
            raise WeightsError(f"{begun}, which are not at hand: {error}") from None
        found = {name: given[name] for name in expected.tensors if name in given}
        if _together({name: _of(array) for name, array in found.items()}) != expected.sha256:
            raise WeightsError(f"{begun}, which are others now: bring back the file that the run began with")
        return found

    def _file(self) -> tuple[int, ...]:
        """Size and time of a local file, which may be removed; nothing for what is published."""
        path = Path(self.weights)
        if not path.is_absolute():
            return ()
        try:
            about = (path if path.exists() else path.with_name(path.name.partition("#")[0])).stat()
        except OSError:
            return (-1,)
        return about.st_size, about.st_mtime_ns

    def _of_weights(self, card: Card, tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[str, str]]:
        """Digests of the tensors as the weights have them, and in the precision of the network."""
        try:
            given = self.read(card, self.weights)
        except XferError:
            return {}
        return {
            name: (_of(given[name]), _of(given[name].astype(array.dtype)))
            for name, array in tensors.items()
            if name in given and given[name].shape == array.shape and card.block_of(name) != "head"
        }


def _of(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _together(digests: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode()).hexdigest()
