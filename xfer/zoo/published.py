"""What torchvision and timm publish for a model, in a line an entry."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib.resources import files
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


def timm_table(family: str) -> dict[str, Any]:
    """The table of a family of timm's: by name, `arguments` of timm's class, `parameters`, and `weights` by tag."""
    return dict(json.loads(files("xfer.zoo").joinpath(f"{family}.json").read_text("utf-8")))


def timm_published(rows: Mapping[str, Mapping[str, Any]], projections: Collection[str] = ()) -> dict[str, Any]:
    """The fields `weights`, `preprocessing` and `variants` of a card, from the rows of timm's weights, best first.

    Args:
        rows: by tag.
        projections: tags of weights whose head does not tell classes apart.
    """
    recipes = {
        tag: Preprocessing(row["size"], row["resize"], row["interpolation"], tuple(row["mean"]), tuple(row["std"]))
        for tag, row in rows.items()
    }
    entries = (
        WeightsEntry(
            tag,
            None,
            "",
            repo=row["repo"],
            licence=row["licence"],
            features_only=row["outputs"] == 0 or tag in projections,
        )
        for tag, row in rows.items()
    )
    return {"weights": tuple(entries), "preprocessing": next(iter(recipes.values())), "variants": recipes}
