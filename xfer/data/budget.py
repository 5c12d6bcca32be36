"""The memory budget of decoded images that are held from epoch to epoch."""

from __future__ import annotations

import threading

import numpy as np
from PIL import Image

from xfer.errors import UsageError
from xfer.runtime.profiling import available_memory

GIB = 1 << 30
_MOST = 2 * GIB
_BYTES_A_PIXEL = 4  # Pillow pads RGB


class Budget:
    """Bytes that loaders may fill with decoded images; safe to share between threads and loaders.

    Args:
        size: bytes; 0 keeps nothing.

    Attributes:
        used: bytes taken so far.
    """

    def __init__(self, size: int = 0) -> None:
        self.size, self.used = size, 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Budget({self.used:,} of {self.size:,} bytes used)"

    @classmethod
    def of(cls, gib: float | None) -> Budget:
        """So many GiB; None is a quarter of the free memory, at most 2 GiB.

        Raises:
            UsageError: fewer than 0.
        """
        if gib is None:
            return cls(min(available_memory() // 4, _MOST))
        if not gib >= 0:
            raise UsageError(f"image_memory={gib}: give GiB for decoded images, 0 to keep none, or None")
        return cls(int(gib * GIB))

    def take(self, image: Image.Image | np.ndarray) -> bool:
        """Whether the image still fits; if it does, its bytes are taken."""
        size = image.nbytes if isinstance(image, np.ndarray) else image.width * image.height * _BYTES_A_PIXEL
        with self._lock:
            if self.used + size > self.size:
                return False
            self.used += size
            return True
