"""`xfer features`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xfer.cli.arguments import Launcher, Processes
from xfer.cli.guard import guarded, print_json, quiet_stdout
from xfer.cli.options import Json, checked, require_data, settings_options
from xfer.cli.summary import summary
from xfer.errors import XferError
from xfer.specs.settings import DataSettings, ModelSettings, RunSettings

# What decides cached features, and how they are computed. The head does not.
_DECIDING = {*DataSettings.model_fields, *ModelSettings.model_fields, "batch_size", "seed", "workers"} - {
    *("hidden", "dropout", "estimator", "columns", "imputer", "tasks", "lora", "lora_alpha", "lora_layers"),
}


@guarded
@settings_options(without=RunSettings.model_fields.keys() - _DECIDING)
def features(
    given: dict[str, Any],
    after: Annotated[
        str, typer.Option(help="the block whose outputs are cached; 'features' are the input of the head")
    ] = ("features"),
    shard: Annotated[
        str,
        typer.Option(
            help="'i/n': only part i of n, 0 <= i < n; the n parts may run on different machines, in any order"
        ),
    ] = "0/1",
    launcher: Launcher = "none",
    processes: Processes = 1,
    json: Json = False,
) -> None:
    """Fill the feature cache before training: outputs of a block for all images, in any number of processes.

    --model also takes the folder of a run.
    """
    from xfer.features.cache import FeatureCache
    from xfer.features.shard import Shard
    from xfer.workflows.ray.features import extracting
    from xfer.workflows.setup import model_of, read_data

    with quiet_stdout():
        require_data(given)
        part = Shard.parse(shard)
        config = checked(given)
        data = read_data(config)
        options: dict[str, Any] = {"shard": part, "batch_size": config.images_per_pass, "workers": config.workers}
        try:
            if launcher == "ray":
                with extracting(config, data, after, processes) as extractor:
                    used = FeatureCache().fill_by(extractor, data, **options)
            else:
                used = FeatureCache().fill(model_of(config, data), data, after=after, **options)
        except OSError as error:
            raise XferError(f"features cannot be cached: {error}") from None
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
    rows = {
        "computed": f"{used.computed:,} images",
        "found": f"{used.there:,} images",
        "unreadable": f"{used.unreadable:,} images",
        "size": f"{size / 2**20:,.1f} MiB",
    }
    summary(f"features of {config.model} after {after}", rows, folder=used.folder)
