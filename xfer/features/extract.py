"""Features in place of images: one pass over the images, after which training a head is cheap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from xfer.data import Augment, Data, Loader, Mix, OnBad, Split, load
from xfer.errors import DataError
from xfer.features.cache import EXTRACTING, FeatureCache
from xfer.models.base_model import BaseModel
from xfer.runtime.progress import say


def extract(
    model: BaseModel,
    data: Any,
    *,
    after: str = "features",
    augment: str | Augment = "none",
    mix: str | Mix = "none",
    seed: int = 0,
    batch_size: int = 32,
    workers: int | None = None,
    on_bad: OnBad = "report",
    cache: bool | str | Path | FeatureCache = True,
) -> Data:
    """The same data set with what the model makes of each image in the image's place.

    `Trainer.fit` and `evaluate` take it for the data set that it came from, as long as nothing up to `after` is
    trained: the results are those on the images, without augmentation, at the price of the blocks behind `after`.

    Args:
        model: in inference mode, as it is in frozen blocks while training.
        data: whatever `xfer.data.load` takes.
        after: a block whose outputs to take, or "features", which the head reads.
        augment: of the training images, once and for all, by `seed`; see `xfer.data.Augment`. To have several views of
            an image, name it several times: `split.subset(np.repeat(np.arange(len(split)), 5))`.
        mix: Mixup and CutMix of the training images, in the same way; labels become shares. See `xfer.data.Mix`.
        seed: of augmentation and mixing.
        batch_size: images a forward pass.
        workers: decoding threads; None for one a core.
        on_bad: "report" leaves out what cannot be read, with a note; "raise" stops; "impute" takes a blank image.
        cache: whether outputs of images as they are, neither augmented nor mixed, are read from the cache, and kept in
            it if they are not there. A path says where; see `xfer.features.cache.FeatureCache`.

    Raises:
        DataError: no image can be read; with `on_bad="raise"`, one that cannot, by name.
    """
    source = load(data)
    if source.train.after is not None:
        raise DataError(f"{source.source} is outputs of {source.train.after!r} already: give pictures")
    found, notes = {}, list(source.notes)
    changed = bool(Mix.parse(mix)) or str(Augment.parse(augment)) != "none"
    kept = FeatureCache.of(cache)
    if kept is not None and after in model.entries and on_bad != "impute":  # a blank image has no row
        names = source.splits.keys() - ({"train"} if changed else set())
        try:
            source, _ = kept.data(model, source, after, batch_size, workers, names)
        except OSError as error:
            say(f"features are not kept: {error}")
    for name, split in source.splits.items():
        plain = replace(split, columns=None, column_names=(), targets=None)
        loader = Loader(
            plain,
            model.spec.preprocessing,
            batch_size=batch_size,
            seed=seed,
            augment=augment if name == "train" else "none",
            mix=mix if name == "train" else "none",
            shuffle=name == "train" and bool(Mix.parse(mix)),  # images are mixed with others of their batch
            workers=workers,
            on_bad=on_bad,
        )
        found[name] = _outputs(model, split, loader, after)
        bad = len(loader.skipped)
        notes += [f"{bad} images in {name} could not be read"] if bad else []
    return replace(source, train=found["train"], val=found.get("val"), test=found.get("test"), notes=tuple(notes))


def _outputs(model: BaseModel, split: Split, loader: Loader, after: str) -> Split:
    rows, labels, indices = loader.collect(lambda batch: model.stage(batch.inputs, after), doing=EXTRACTING)
    kept = split.subset(indices)
    return replace(kept, images=rows, after=after, targets=labels if loader.mix else kept.targets)
