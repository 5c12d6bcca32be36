"""What torchvision publishes for a model, in a line an entry."""

from __future__ import annotations

from typing import Any, NamedTuple

from xfer.specs.preprocessing import Interpolation, Preprocessing
from xfer.weights.entry import WeightsEntry


class Published(NamedTuple):
    """An entry of torchvision's weights enums: file without ".pth", ImageNet top-1 in percent, and preprocessing."""

    entry: str
    file: str
    acc1: float
    resize: int
    size: int = 224
    interpolation: Interpolation = "bilinear"


def published(*rows: Published | tuple[Any, ...], **normalisation: Any) -> dict[str, Any]:
    """The fields `weights`, `preprocessing` and `variants` of a card, from its entries, best first.

    `normalisation`: `mean` and `std`, where they are not ImageNet's.
    """
    entries = [Published(*row) for row in rows]
    recipes = {row.entry: Preprocessing(row.size, row.resize, row.interpolation, **normalisation) for row in entries}
    return {
        "weights": tuple(WeightsEntry.torchvision(row.entry, row.file, row.acc1) for row in entries),
        "preprocessing": recipes[entries[0].entry],
        "variants": recipes,
    }
