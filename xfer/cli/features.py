"""The command that fills the feature cache before anything is trained, in as many processes as one likes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xfer.cli.guard import guarded, print_json, quiet_stdout
from xfer.cli.options import Json, checked, require_data, train_options
from xfer.errors import XferError
from xfer.specs.settings import TrainConfig

# What decides the rows, and how they are computed.
_OPTIONS = {
    *("data", "val", "limit", "seed", "model", "weights", "backend", "device", "precision", "image_size"),
    *("missing_pixels", "batch_size", "workers"),
}


@guarded
@train_options(without=set(TrainConfig.model_fields) - _OPTIONS)
def features(
    given: dict[str, Any],
    after: Annotated[str, typer.Option(help="the block whose outputs to keep; 'features' are what a head reads")] = (
        "features"
    ),
    shard: Annotated[
        str, typer.Option(help="i/n, 0 <= i < n: only the i-th of n parts; start all n, anywhere, in any order")
    ] = "0/1",
    json: Json = False,
) -> None:
    """Compute what a frozen network makes of each image, and keep it for `xfer train` and whatever else reads it.

    --model takes the folder of a run as well.
    """
    from xfer.features.cache import FeatureCache, Shard
    from xfer.workflows.setup import model_of, read_data

    with quiet_stdout():
        require_data(given)
        part = Shard.parse(shard)
        config = checked(given)
        data = read_data(config)
        try:
            used = FeatureCache().fill(
                model_of(config, data),
                data,
                after=after,
                shard=part,
                batch_size=config.images_a_pass,
                workers=config.workers,
            )
        except OSError as error:
            raise XferError(f"features cannot be kept: {error}") from None
    size = (used.there + used.computed) * used.row_bytes
    if json:
        print_json(
            {
                "shard": f"{part.index}/{part.count}",
                "made": used.computed,
                "found": used.there,
                "unreadable": used.unreadable,
                "folder": str(used.folder),
                "bytes": size,
            }
        )
        return
    print(f"images: {used.computed:,} made, {used.there:,} found, {used.unreadable:,} unreadable")
    print(f"rows: {used.folder} ({size:,} bytes)")
