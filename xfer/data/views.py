"""What a network gets of some images of a data set, by the loader that trains on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from xfer.data.budget import Budget
from xfer.data.dataset import Data, Split
from xfer.data.images.decode import BadImageError, decode
from xfer.data.loader import Loader
from xfer.data.samples import Sample, Samples, View
from xfer.data.sampling import repetitions
from xfer.data.sheet import SIDE
from xfer.data.transforms.augment import Augment
from xfer.data.transforms.mix import Mix
from xfer.errors import UnknownNameError, UsageError
from xfer.runtime.progress import say
from xfer.runtime.text import count_of
from xfer.specs.choices import Sampling
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.tasks import Task, spans
from xfer.zoo import card as find_card

MOST = 100  # images
MOST_VIEWS = 16


def show(
    data: Data,
    split: str = "train",
    *,
    n: int = 8,
    views: int | None = None,
    model: Any = None,
    image_size: int | None = None,
    augment: Augment | str | Iterable[str] | None = None,
    mix: Mix | str | None = None,
    augment_minority: Augment | str | Iterable[str] | None = None,
    sampling: Sampling = "none",
    batch_size: int = 32,
    seed: int = 0,
) -> Samples:
    """Images of each class of a split, and, if any of the options below is given, what a network gets of them.

    A notebook shows the result as pictures; `save("samples.html")` writes a page, `image()` makes one picture.

    Args:
        data: of pictures.
        split: "train", "val" or "test".
        n: how many images, spread over the classes.
        views: in how many epochs to show an image: by default 4 where it is changed at random, else 1.
        model: an architecture's name, a model, or a `Preprocessing`, which says the size, the resize and the crop; by
            default EfficientNet-Lite0's.
        image_size: input size in pixels.
        augment, mix, augment_minority, sampling, batch_size, seed: as in `Trainer`, whose training images these are,
            pixel by pixel.

    Raises:
        UnknownNameError, UsageError: an option that cannot be, or data that is no pictures.
    """
    if split not in data.splits:
        raise UnknownNameError("split", split, data.splits)
    recipe = _preprocessing(model, image_size)
    loader = Loader(
        data.splits[split],
        recipe,
        batch_size=batch_size,
        seed=seed,
        shuffle=True,
        augment=augment,
        augment_minority=augment_minority,
        sampling=sampling,
        mix=mix,
        workers=None,
        memory=Budget.of(None),
    )
    changed = random_changes(loader)
    asked = bool(changed) or views is not None or model is not None or image_size is not None
    number = views if views is not None else (4 if changed else 1) if asked else 0
    title = f"{data.source}: {split}, {count_of(len(loader.split), 'image')}"
    return samples(loader, title, data.tasks, n=n, views=number)


def _preprocessing(model: Any, image_size: int | None) -> Preprocessing:
    found = model
    if model is None or isinstance(model, str):
        found = find_card(model or "efficientnet_lite0").preprocessing
    elif not isinstance(model, Preprocessing):
        found = getattr(getattr(model, "spec", None), "preprocessing", None)
    if not isinstance(found, Preprocessing):
        raise UsageError(f"model is a {type(model).__name__}: give an architecture's name, a model or a Preprocessing")
    return found.at(image_size) if image_size is not None else found


def random_changes(loader: Loader) -> str:
    """The augmentation and mixing of a loader, in words; empty where there is none."""
    chosen = {"augment": loader.augment, "augment_minority": loader.augment_minority, "mix": loader.mix}
    return ", ".join(f"{name}={value}" for name, value in chosen.items() if str(value) != "none")


def recipe_of(loader: Loader) -> str:
    """What a loader does to an image, in words."""
    p = loader.preprocessing
    whole = isinstance(loader.augment, Augment) and loader.augment.crop is not None
    side = "both sides" if p.squash else "shorter side"
    cut = f"a random part at {p.size} px" if whole else f"{side} to {p.resize} px, the central {p.size} px"
    return ", ".join(filter(None, [cut, p.interpolation, random_changes(loader)]))


def samples(loader: Loader, title: str, tasks: Sequence[Task] = (), *, n: int, views: int) -> Samples:
    """Images of each class of a loader's split, and what the loader makes of them in its first epochs.

    Args:
        loader: as a training has it: its pixels are those that a network is given.
        title: of the samples.
        tasks: of the data set, if it has several.
        n: how many images, spread over the classes; which ones depends on the loader's seed.
        views: how many epochs.

    Raises:
        UsageError: a number that does not fit, or a split that has no pictures.
    """
    split = loader.split
    for name, value, least, most in (("n", n, 1, MOST), ("views", views, 0, MOST_VIEWS)):
        if not least <= value <= most:
            raise UsageError(f"{name}={value}: give {least} to {most}")
    if split.after is not None:
        raise UsageError(f"the data is outputs of {split.after!r}, not pictures: show the data they were made from")
    chosen = list(_readable(loader, n))
    seen = _views(loader, [index for index, _ in chosen], views)
    found = [
        Sample(
            split.names[index],
            _label(split, tasks, split.labels[index] if split.targets is None else split.targets[index]),
            image,
            tuple(View(pixels, _label(split, tasks, label)) for pixels, label in seen[index]),
        )
        for index, image in chosen
    ]
    return Samples(found, title, recipe_of(loader) if views else "")


def _readable(loader: Loader, n: int) -> Iterator[tuple[int, Image.Image]]:
    """At most `n` images that can be read, spread over the classes, and small: in the order of the classes."""
    split, recipe = loader.split, loader.preprocessing
    found: list[tuple[int, Image.Image]] = []
    for index in map(int, _spread(split.labels, loader.seed)):
        if len(found) == n:
            break
        try:
            image = decode(split.images[index], recipe.missing, recipe.kept)
        except BadImageError as bad:
            say(f"cannot read {split.names[index]}: {bad.reason}")
            continue
        image.thumbnail((2 * SIDE, 2 * SIDE))
        found.append((index, image))
    yield from sorted(found, key=lambda each: int(split.labels[each[0]]))


def _spread(labels: np.ndarray, seed: int) -> np.ndarray:
    """All indices, int64 (N,), in an order that takes one image of each class in turn, both at random."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    classes, kind = np.unique(labels[shuffled], return_inverse=True)
    turn = np.argsort(rng.permutation(classes))
    return np.asarray(shuffled[np.lexsort((turn[kind], repetitions(labels[shuffled])))])


def _views(loader: Loader, chosen: Sequence[int], epochs: int) -> dict[int, list[tuple[np.ndarray, Any]]]:
    """What the loader yields for the chosen samples in each epoch: pixels uint8 (S, S, 3), and the label.

    Pixels depend on (seed, epoch, index) alone, so other images need not be read; where images are mixed they depend on
    the batch, which is then made whole. An image that an epoch leaves out, as sampling does, has no view of that epoch.
    """
    found: dict[int, list[tuple[np.ndarray, Any]]] = {index: [] for index in chosen}
    for epoch in range(epochs):
        keys = loader.keys(epoch)
        if not loader.mix:
            keys = keys[np.isin(keys[:, 0], chosen) & (keys[:, 1] == 0)]
        places = np.flatnonzero(np.isin(keys[:, 0], chosen) & (keys[:, 1] == 0))
        first = dict(zip(keys[places, 0].tolist(), places.tolist(), strict=True))
        numbers = sorted({first[index] // loader.batch_size for index in chosen if index in first})
        for number in numbers:
            part = keys[: (number + 1) * loader.batch_size]
            for batch in loader.epoch(epoch, number, keys=part, allow_nothing=True):
                places = batch.indices.tolist()
                for index in {*chosen} & {*places}:
                    if first[index] // loader.batch_size == number:
                        place = places.index(index)
                        found[index].append((batch.images[place], batch.labels[place]))
    return found


def _label(split: Split, tasks: Sequence[Task], label: Any) -> str:
    """A label as text: a class, shares of mixed classes, or the targets of several tasks."""
    if tasks and np.ndim(label):
        said = [_target(task, np.atleast_1d(label)[columns]) for task, _, columns in spans(tasks)]
        return ", ".join(each for each in said if each) or "no label"
    if np.ndim(label):
        if np.isnan(label).any():
            return "no label"
        shares = sorted(
            ((float(s), name) for s, name in zip(label, split.classes, strict=True) if s >= 0.005), reverse=True
        )
        return shares[0][1] if len(shares) == 1 else ", ".join(f"{name} {share:.2f}" for share, name in shares)
    return split.classes[int(label)] if label >= 0 else "no label"


def _target(task: Task, target: np.ndarray) -> str:
    if np.isnan(target).any():
        return ""
    if task.kind == "single-label":
        return f"{task.name}={task.classes[int(target[0])]}"
    if task.kind == "multi-label":
        return f"{task.name}={'|'.join(n for n, there in zip(task.classes, target, strict=True) if there) or '-'}"
    return f"{task.name}={' '.join(f'{number:.4g}' for number in task.unscale(target[None])[0])}"
