"""Data sets of other libraries, recognised by their methods; none of those libraries is imported."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from xfer.data.corrections import Corrections, corrected
from xfer.data.dataset import Data
from xfer.data.images.decode import BadImageError
from xfer.data.sources.arrays import array_part
from xfer.data.sources.assembly import SPLIT_NAMES, Label, Part, assemble
from xfer.data.sources.pixels import CHANNELS, as_label, as_picture, is_torch
from xfer.data.texts import Texts
from xfer.errors import DataError

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")
_INFINITE = -1


@dataclass(frozen=True)
class _Features:
    """Which columns of a row hold the image and the label; None finds the usual names."""

    image: str | None = None
    label: str | None = None


def wrap(
    train: Any,
    val: Any = None,
    *,
    test: Any = None,
    classes: Sequence[str] | None = None,
    image: str | None = None,
    label: str | None = None,
    share: float = 0.2,
    seed: int = 0,
    corrections: Corrections = None,
) -> Data:
    """Whatever yields (image, label): a data set of torch, TensorFlow or Hugging Face, arrays, or a list of pairs.

    Images and labels are what `as_picture` and `as_label` read. Anything with `[i]` and `len` is read lazily, one
    image at a time and from several threads if the loader has workers, so it must return the same image for the same
    index; anything else is iterated once, batched or not, and kept in memory. Labels come from `targets` or the
    label column if there is one, else every sample is read once. Class names come from `classes`, the data set's own
    `classes` or `class_names`, a label feature's `names`, or the labels. A split with a list of classes of its own is
    matched with train by name.

    Args:
        train: a `torch.utils.data.Dataset` or `DataLoader`, `tf.data.Dataset`, `datasets.Dataset`, pair of arrays
            (x, y), list of pairs, or any iterable of pairs or rows; or a mapping of these by split, such as a
            `datasets.DatasetDict`.
        val: validation data, in any of these forms.
        test: test data.
        classes: names that integer labels index, and that string labels are among.
        image: column of the image in rows; "image" or "img" by default.
        label: column of the label in rows; "label", "labels" or "fine_label" by default.
        share: share of train to hold out where there is no validation data.
        seed: of the hold-out.
        corrections: a CSV file of corrected labels, or labels by name; see `xfer.data.corrections.corrected`.

    Raises:
        DataError: something that yields no such pairs.
    """
    if isinstance(train, Mapping):
        if val is not None or test is not None:
            raise DataError("a mapping has all splits: give no val and no test beside it")
        splits, unknown = _splits(train)
        options: dict[str, Any] = {"classes": classes, "image": image, "label": label, "share": share, "seed": seed}
        found = wrap(**splits, **options)
        notes = [f"the splits {', '.join(unknown)} were left out: they are not train, val or test"] if unknown else []
        return corrected(replace(found, notes=(*found.notes, *notes)), corrections)
    given = {"train": train, "val": val, "test": test}
    there = {key: value for key, value in given.items() if value is not None}
    columns = _Features(image, label)
    parts = {key: _part(value, key, columns) for key, value in there.items()}
    own = {key: _class_names(value, columns) for key, value in there.items()}
    names = list(classes) if classes is not None else own["train"]
    parts = {key: _by_name(part, key, own[key], own["train"], names) for key, part in parts.items()}
    source = f"{type(train).__module__}.{type(train).__qualname__}".removeprefix("builtins.")
    return corrected(assemble(parts, source=source, classes=names, val=share, seed=seed), corrections)


def _splits(source: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """The splits by their usual names; of Hugging Face's `DatasetDict` also the names of others ("unsupervised")."""
    found: dict[str, Any] = {}
    unknown = []
    for name, dataset in source.items():
        key = SPLIT_NAMES.get(str(name).lower())
        if key is None and type(source) is not dict:
            unknown.append(str(name))
            continue
        if key is None or key in found:
            raise DataError(f"split {name!r}: give at most one each of train, val and test")
        found[key] = dataset
    if "train" not in found:
        raise DataError(f"there is no train among the splits ({', '.join(map(str, source))})")
    return found, unknown


def _by_name(
    part: Part, what: str, own: Sequence[str] | None, of_train: Sequence[str] | None, classes: Sequence[str] | None
) -> Part:
    """The part with numbers of its own list of classes made those of train's, by name.

    Raises:
        DataError: it has a class that train lacks.
    """
    if own is None or of_train is None or list(own) == list(of_train):
        return part
    place = {name: i for i, name in enumerate(of_train)}
    numbers = {label for label in part.labels if isinstance(label, int)}
    for number in numbers:
        if not 0 <= number < len(own):
            raise DataError(f"{what} has label {number}, and {len(own)} names of classes")
        if own[number] not in place:
            raise DataError(f"{what} has class {own[number]!r}, which train lacks ({', '.join(of_train[:5])}, ...)")
    moved = {number: place[own[number]] for number in numbers}
    return replace(part, labels=[moved[label] if isinstance(label, int) else label for label in part.labels])


def is_array_pair(value: Any) -> bool:
    """Whether this is (x, y) with a batch of images and a batch of labels."""
    if not (isinstance(value, (tuple, list)) and len(value) == 2):
        return False
    return len(getattr(value[0], "shape", ())) >= 3 and np.ndim(value[1]) >= 1


def _part(dataset: Any, what: str, columns: _Features) -> Part:
    if is_array_pair(dataset):
        x, y = dataset
        return array_part(x, y, what)
    if hasattr(dataset, "as_numpy_iterator"):
        if hasattr(dataset, "cardinality") and int(dataset.cardinality()) == _INFINITE:
            raise DataError(f"the {what} data set repeats for ever: leave out .repeat()")
        return _materialised(dataset.as_numpy_iterator(), what, columns)
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and not _iterable_alone(dataset):
        return _lazy(dataset, what, columns)
    if isinstance(dataset, Iterable):
        return _materialised(dataset, what, columns)
    raise DataError(f"{what} is a {type(dataset).__name__}: give something that yields (image, label)")


def _iterable_alone(dataset: Any) -> bool:
    """Whether this is torch's IterableDataset, whose `[i]` is not implemented."""
    return any(kind.__name__ == "IterableDataset" for kind in type(dataset).__mro__)


def _lazy(dataset: Any, what: str, columns: _Features) -> Part:
    labels = _labels(dataset, what, columns)
    names = Texts.of(map(str, range(len(labels))))
    return Part(_Lazy(dataset, what, columns), labels, names)


@dataclass(frozen=True)
class _Lazy:
    dataset: Any
    what: str
    columns: _Features

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        where = f"{self.what}[{index}]"
        try:
            item = self.dataset[index]
        # What Pillow raises inside the data set for a damaged file.
        except (OSError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
            raise BadImageError(str(error)) from None
        return as_picture(_pair(item, where, self.columns)[0], where)


def _materialised(items: Iterable[Any], what: str, columns: _Features) -> Part:
    images: list[Any] = []
    labels: list[Label] = []
    for item in items:
        x, y = _pair(item, what, columns)
        for image, label in zip(x, y, strict=True) if _is_batch(x, y) else [(x, y)]:
            where = f"{what}[{len(images)}]"
            images.append(as_picture(image, where))
            labels.append(as_label(label, where))
    return Part(images, labels, Texts.of(map(str, range(len(images)))))


def _is_batch(x: Any, y: Any) -> bool:
    if np.ndim(x) == 4:
        return True
    one = np.ndim(x) == 3 and np.shape(x)[0 if is_torch(x) else -1] in CHANNELS  # whose label may be one-hot
    return np.ndim(x) == 3 and np.ndim(y) == 1 and len(x) == len(y) and not one


def _pair(item: Any, where: str, columns: _Features) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image = _column(item, columns.image, IMAGE_COLUMNS, where)
        return item[image], item[_column(item, columns.label, LABEL_COLUMNS, where)]
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    raise DataError(
        f"{where} is a {type(item).__name__}: give pairs (image, label), or rows with columns 'image' and 'label'"
    )


def _column(row: Mapping[str, Any], name: str | None, usual: Sequence[str], where: str) -> str:
    found = next((key for key in ([name] if name else usual) if key in row), None)
    if found is None:
        there = ", ".join(map(repr, row))
        wanted = repr(name) if name else " or ".join(map(repr, usual))
        raise DataError(f"{where} has no column {wanted}, only {there}: name it with image= or label=")
    return found


def _labels(dataset: Any, what: str, columns: _Features) -> list[Label]:
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        column = dataset[_column(features, columns.label, LABEL_COLUMNS, what)]
        return [as_label(label, what) for label in column]
    known = _targets(dataset)
    if known is not None and len(known) == len(dataset):
        return [as_label(label, what) for label in known]
    return [_read_label(dataset, i, f"{what}[{i}]", columns) for i in range(len(dataset))]


def _read_label(dataset: Any, index: int, where: str, columns: _Features) -> Label:
    try:
        item = dataset[index]
    except OSError as error:
        raise DataError(f"{where} has no label, for it cannot be read: {error}") from None
    return as_label(_pair(item, where, columns)[1], where)


def _targets(dataset: Any) -> Sequence[Any] | None:
    """Labels without reading images: torchvision's `targets`, also through `torch.utils.data.Subset`."""
    if getattr(dataset, "target_transform", None) is not None:
        return None
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        whole = _targets(dataset.dataset)
        return None if whole is None else [whole[i] for i in dataset.indices]
    return getattr(dataset, "targets", None)


def _class_names(dataset: Any, columns: _Features) -> list[str] | None:
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        feature = features[_column(features, columns.label, LABEL_COLUMNS, "train")]
        return getattr(feature, "names", None)
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        return _class_names(dataset.dataset, columns)
    names = getattr(dataset, "classes", None) or getattr(dataset, "class_names", None)
    # torchvision's ImageNet has a tuple of synonyms for each class.
    return names and [name if isinstance(name, str) else ", ".join(name) for name in names]
