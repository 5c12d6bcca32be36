"""Parts of a data set that different processes compute."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xfer.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """The part `index` of `count` of all images, by their content: 0 <= index < count.

    Raises:
        UsageError: there is no such part.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"shard {self.index}/{self.count}: give i/n with 0 <= i < n, such as 0/4")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """A shard from "i/n"."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if match is None:
            raise UsageError(f"shard {text!r}: give i/n with 0 <= i < n, such as 0/4")
        return cls(int(match[1]), int(match[2]))

    def has(self, digest: bytes) -> bool:
        """Whether an image of this digest is in it."""
        return int.from_bytes(digest, "big") % self.count == self.index
