"""What torchvision and timm publish for a model, in a line an entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from xfer.specs.preprocessing import Interpolation, Preprocessing
from xfer.weights.entry import WeightsEntry
from xfer.zoo.card import Card

# Families of timm's networks, which are built from the `config` of a card alone, whatever it is called.
TIMM_FAMILIES = ("timm_vit", "eva02", "convnext_v2", "tf_efficientnet", "mobilenet_v4", "resnet_d")


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


@cache
def timm_table(family: str) -> dict[str, Any]:
    """The table of a family of timm's: by name, `arguments` of timm's class, `parameters`, and `weights` by tag."""
    return dict(json.loads(files("xfer.zoo").joinpath(f"{family}.json").read_text("utf-8")))


def timm_published(name: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The fields `weights`, `preprocessing`, `variants` and `projection` of a card, from the rows of timm's weights.

    Args:
        name: of the architecture.
        rows: by tag, best first.
    """
    # The head of CLIP that was not fine-tuned is a projection into the space that images share with texts.
    projections = {tag: row["outputs"] for tag, row in rows.items() if "clip" in name + tag and "_ft_" not in tag}
    recipes = {
        tag: Preprocessing(
            row["size"],
            row["resize"],
            row["interpolation"],
            tuple(row["mean"]),
            tuple(row["std"]),
            squash=row.get("squash", False),
        )
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
    projection = max(projections.values(), default=0)
    first = next(iter(recipes.values()))
    return {"weights": tuple(entries), "preprocessing": first, "variants": recipes, "projection": projection}


def with_timms(card: Card) -> Card:
    """A card of torchvision's with the weights that timm publishes for the same network, after torchvision's own."""
    rows = timm_table("timm_weights").get(card.name)
    if rows is None:
        return card
    found = timm_published(card.name, rows["weights"])
    weights, variants = (*card.weights, *found["weights"]), {**card.variants, **found["variants"]}
    return replace(card, weights=weights, variants=variants, projection=found["projection"])
