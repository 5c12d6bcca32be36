"""What a backend is given: images or outputs of a block, and columns beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from xfer.errors import UsageError


def head_inputs(features: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
    """What a head reads: features (N, D), or (N, P, D) as the mean over the places, with columns (N, C) behind them."""
    flat = features if features.ndim == 2 else features.mean(axis=1)
    return flat if columns is None else np.hstack([flat, columns])


def check_images(images: np.ndarray, size: int) -> None:
    """Refuse what is not a batch at the border.

    Raises:
        UsageError: anything but uint8 (N, size, size, 3).
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
        given = f"{images.dtype} {tuple(images.shape)}"
        raise UsageError(f"images are {given}: expected uint8 (N, {size}, {size}, 3); predict() resizes by itself")


@dataclass(frozen=True, eq=False)
class Inputs:
    """N samples on the host.

    Args:
        values: uint8 images (N, S, S, 3), or outputs of the stage `after`.
        after: the block whose outputs `values` are, or "features"; None for images. What comes before it is not run.
        columns: float (N, C), what joins the features before the head; None where the model reads none.
        shards: how many samples each process of a run has of the batch, by rank, these being this process's own; empty
            where they are all.
    """

    values: np.ndarray
    after: str | None = None
    columns: np.ndarray | None = None
    shards: tuple[int, ...] = ()

    @classmethod
    def of(cls, given: np.ndarray | Inputs) -> Inputs:
        """Images as they are, or inputs as they are."""
        return given if isinstance(given, Inputs) else cls(given)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, chosen: np.ndarray) -> Inputs:
        """The samples at these places, int (N,)."""
        columns = None if self.columns is None else self.columns[chosen]
        return replace(self, values=self.values[chosen], columns=columns)

    def micro_batches(self, most: int | None) -> list[Inputs]:
        """The same samples in order, at most so many together, in parts of equal size; None for all at once.

        Of equal size, so that a last one of a single image, whose batch statistics may be undefined, is rare.
        """
        if most is None or len(self) <= most:
            return [self]
        return [self.take(part) for part in np.array_split(np.arange(len(self)), -(-len(self) // most))]

    def padded(self) -> Inputs:
        """One blank sample in place of none: some kernels fail on an empty batch, and a backward pass needs one."""
        if len(self):
            return self
        columns = None if self.columns is None else np.zeros((1, *self.columns.shape[1:]), self.columns.dtype)
        return Inputs(np.zeros((1, *self.values.shape[1:]), self.values.dtype), self.after, columns, self.shards)
