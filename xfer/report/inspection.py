"""`inspect.html`: what is in a data set, and what the network gets of it in training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from xfer.data import Augment, Budget, Data, Inspection, Mix
from xfer.data.audit.duplicates import Pair, Place
from xfer.data.images.decode import BadImageError, decode
from xfer.data.samples import Sample, Samples
from xfer.data.views import random_changes, samples
from xfer.models.factory import preprocessing_of
from xfer.report.inspection_charts import MOST_CLASSES, bars, sizes
from xfer.report.template import fill
from xfer.report.thumbnails import data_uri
from xfer.runtime.files import write_atomically, writing_into
from xfer.runtime.text import count_of
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.settings import RunSettings
from xfer.training.loaders import training_loader

PAGE = "inspect.html"
SAMPLES, VIEWS = 12, 4
_PAIRS, _FILES = 12, 200


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data URI, None where there is none, with what is said of it."""

    uri: str | None
    label: str
    name: str = ""


def preprocessing(config: RunSettings) -> Preprocessing:
    """What the configured network does to an image, without reading published weights.

    Raises:
        XferError: what `xfer.load` refuses; or an augmentation or mixing that cannot be.
    """
    for augment in (config.augment, config.augment_minority):
        Augment.parse(augment)
    Mix.parse(config.mix)
    weights = None if config.weights == "none" else config.weights
    how: dict[str, Any] = {"missing_pixels": config.missing_pixels, "decode": config.decode}
    return preprocessing_of(config.model, weights=weights, image_size=config.image_size, **how)


def write(config: RunSettings, recipe: Preprocessing, data: Data, found: Inspection, out: Path) -> Path:
    """Write `inspect.html` into a folder, made if needed.

    Raises:
        UsageError: an option of the training that cannot be. CheckpointError: the folder cannot be written.
    """
    page = render(found, data, shown(config, recipe, data))
    with writing_into(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / PAGE, page)
    return out / PAGE


def shown(config: RunSettings, recipe: Preprocessing, data: Data) -> Samples:
    """Samples of the training split, and what the loader of a fit with these settings makes of them."""
    memory = Budget.of(config.image_memory)
    loader = training_loader(data.train, recipe, config, batch_size=config.images_per_pass, memory=memory)
    epochs = VIEWS if random_changes(loader) else 1
    return samples(loader, data.source, data.tasks, n=max(SAMPLES, min(2 * len(data.classes), 24)), views=epochs)


def render(found: Inspection, data: Data, samples: Samples) -> bytes:
    """The page as UTF-8."""
    from markupsafe import Markup

    unreadable = [(name, bad) for name, split in found.splits.items() for bad in split.unreadable]
    pairs = [*found.conflicts.pairs[:_PAIRS], *(pair for each in found.duplicates for pair in each.pairs[:_PAIRS])]
    shown = {place.name for pair in pairs for place in (pair.first, pair.second)}
    where = {key: {n: i for i, n in enumerate(split.names) if n in shown} for key, split in data.splits.items()}

    def picture(place: Place) -> Picture:
        return Picture(_uri(data, where, place), place.label or "no label", f"{place.split}: {place.name}")

    return fill(
        "inspect.html",
        found=found,
        title=_title(found),
        counts=Markup(bars(found)),
        sizes=Markup(sizes(found)),
        classes_left_out=max(len(found.classes) - MOST_CLASSES, 0),
        recipe=samples.recipe,
        samples=[_pictures(sample) for sample in samples],
        duplicates=[(each, _pairs(each.pairs, picture)) for each in found.duplicates],
        conflicts=_pairs(found.conflicts.pairs, picture),
        unreadable=unreadable[:_FILES],
        unreadable_left_out=max(len(unreadable) - _FILES, 0),
        tally=_tally,
    )


def _title(found: Inspection) -> str:
    images = sum(split.readable for split in found.splits.values())
    what = f"{count_of(images, 'image')} of {count_of(len(found.classes), 'class', 'classes')}"
    number = len(found.suggestions)
    return f"{what}: {count_of(number, 'suggestion') if number else 'nothing to repair was found'}"


def _pictures(sample: Sample) -> list[Picture]:
    first = Picture(data_uri(sample.image), sample.label, sample.name)
    views = [Picture(data_uri(Image.fromarray(view.pixels)), view.label) for view in sample.views]
    return [first, *views]


def _pairs(pairs: Iterable[Pair], picture: Any) -> list[tuple[Picture, Picture]]:
    return [(picture(pair.first), picture(pair.second)) for pair in list(pairs)[:_PAIRS]]


def _uri(data: Data, where: Mapping[str, Mapping[str, int]], place: Place) -> str | None:
    split = data.splits[place.split]
    if not split.stored:
        return None
    try:
        return data_uri(decode(split.images[where[place.split][place.name]]))
    except BadImageError:
        return None


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"
