"""Outputs of frozen blocks on disk: computed once for each image, read ever after.

A space holds the rows of one network up to one block: its folder is named by a digest of the backend and its
versions, the tensors of those blocks, the preprocessing and the precision. In it a row belongs to the digest of an
image's content. So a row is never stale: whatever could change it changes its name.

Rows are appended to `rows.bin`, and are made known by a record in `index.bin` (the image's digest, the row's CRC-32)
after they are on disk. A kill leaves rows without a record, which are cut off; a row that does not fit its checksum is
made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from xfer.checkpoint import write_atomically
from xfer.data.decode import BadImageError
from xfer.weights.fetch import cache_dir

if TYPE_CHECKING:
    from xfer.data import Data, Split
    from xfer.model import BaseModel

_DIGEST, _CHECK = 32, 4
_RECORD = _DIGEST + _CHECK
_FLUSH = 64 << 20  # bytes of rows between two commits
BUDGET = 20 << 30
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Rows:
    """Outputs of a block in the place of images; what could not be read says so when it is asked for."""

    store: np.ndarray
    places: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self.reasons:
            raise BadImageError(self.reasons[index])
        return np.asarray(self.store[self.places[index]])


@dataclass(frozen=True)
class Used:
    """What the cache did for one data set: images that were there, that were computed, and bytes of a row."""

    there: int
    computed: int
    row_bytes: int


def features_dir() -> Path:
    """Where rows are kept: `$XFER_FEATURES`, else `features` beside the downloaded weights."""
    given = os.environ.get("XFER_FEATURES")
    return Path(given).expanduser() if given else cache_dir().parent / "features"


@dataclass(frozen=True)
class FeatureCache:
    """A folder of spaces.

    Args:
        folder: by default `$XFER_FEATURES`, else `features` beside the downloaded weights.
        budget: bytes that all spaces may take; the oldest go first, and what cannot fit is not kept.
    """

    folder: Path = field(default_factory=features_dir)
    budget: int = BUDGET

    def data(self, model: BaseModel, data: Data, after: str, batch_size: int, workers: int | None) -> tuple[Data, Used]:
        """The data set with outputs of the frozen blocks up to `after` in the place of images, in every split but test.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        space = _Space(self.folder / space_name(model, after))
        there = computed = 0
        splits: dict[str, Any] = {}
        with space.locked():
            self._make_room(model, after, data, space)
            known = space.read()
            for name in ("train", "val"):
                split: Split | None = getattr(data, name)
                if split is None:
                    continue
                digests = digests_of(split, workers)
                missing = [i for i, digest in enumerate(digests) if digest not in known]
                reasons = _compute(model, split, missing, digests, after, space, known, batch_size, workers)
                there, computed = there + len(split) - len(missing), computed + len(missing) - len(reasons)
                places = np.array([known.get(digest, -1) for digest in digests], np.int64)
                splits[name] = replace(split, images=Rows(space.rows(), places, reasons), after=after)
            row_bytes = space.row_bytes()
        return replace(data, **splits), Used(there, computed, row_bytes)

    def estimate(self, model: BaseModel, after: str, images: int) -> int:
        """Bytes that the outputs of so many images take."""
        size = model.spec.preprocessing.size
        return images * int(model.stage(np.zeros((1, size, size, 3), np.uint8), after).nbytes)

    def _make_room(self, model: BaseModel, after: str, data: Data, space: _Space) -> None:
        wanted = self.estimate(model, after, len(data.train) + (len(data.val) if data.val is not None else 0))
        others = [path for path in self.folder.iterdir() if path.is_dir() and path != space.folder]
        others.sort(key=lambda path: path.stat().st_mtime)
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in others}
        room = min(self.budget, shutil.disk_usage(self.folder).free + sum(sizes.values()))
        if wanted > room:
            raise OSError(f"{wanted >> 20} MiB of features do not fit into {room >> 20} MiB")
        for path in others:
            if wanted + sum(sizes.values()) <= self.budget:
                break
            shutil.rmtree(path, ignore_errors=True)
            del sizes[path]


@dataclass(frozen=True)
class _Space:
    folder: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in the folder: a second run waits, and then finds the rows of the first."""
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.with_suffix(".lock")):
            os.utime(self.folder)
            yield

    def read(self) -> dict[bytes, int]:
        """Places of rows by the digests of their images; records and rows that are not whole are cut off."""
        index, rows = self.folder / "index.bin", self.folder / "rows.bin"
        if self._shape() is None:
            return {}
        records = index.read_bytes() if index.exists() else b""
        number = min(len(records) // _RECORD, _size(rows) // max(self.row_bytes(), 1))
        store = self.rows()
        found = {}
        for place in range(number):
            record = records[place * _RECORD : (place + 1) * _RECORD]
            check = int.from_bytes(record[_DIGEST:], "little")
            if zlib.crc32(np.ascontiguousarray(store[place]).data) == check:
                found[record[:_DIGEST]] = place
        for path, size in ((index, number * _RECORD), (rows, number * self.row_bytes())):
            if _size(path) > size:
                os.truncate(path, size)
        return found

    def rows(self) -> np.ndarray:
        """All rows, mapped into memory."""
        meta = self._shape()
        path = self.folder / "rows.bin"
        if meta is None or not 0 < self.row_bytes() <= _size(path):
            return np.zeros((0,), np.float32)
        shape, dtype = meta
        number = path.stat().st_size // self.row_bytes()
        return np.memmap(path, dtype, "r", shape=(number, *shape))

    def append(self, digests: Sequence[bytes], rows: np.ndarray) -> dict[bytes, int]:
        """Rows onto the disk, then the records that make them known; their places."""
        if self._shape() != (rows.shape[1:], rows.dtype.str):  # new, or damaged
            for name in ("index.bin", "rows.bin"):
                (self.folder / name).unlink(missing_ok=True)
            meta = json.dumps({"shape": rows.shape[1:], "dtype": rows.dtype.str})
            write_atomically(self.folder / "meta.json", meta.encode())
        first = _size(self.folder / "rows.bin") // self.row_bytes()
        _append(self.folder / "rows.bin", np.ascontiguousarray(rows).tobytes())
        checks = (zlib.crc32(np.ascontiguousarray(row).data).to_bytes(_CHECK, "little") for row in rows)
        _append(self.folder / "index.bin", b"".join(d + c for d, c in zip(digests, checks, strict=True)))
        return {digest: first + i for i, digest in enumerate(digests)}

    def row_bytes(self) -> int:
        """Bytes of a row; 0 where there is none yet."""
        meta = self._shape()
        return 0 if meta is None else int(np.prod(meta[0], dtype=np.int64)) * np.dtype(meta[1]).itemsize

    def _shape(self) -> tuple[tuple[int, ...], str] | None:
        try:
            meta = json.loads((self.folder / "meta.json").read_text())
            return tuple(int(n) for n in meta["shape"]), str(np.dtype(meta["dtype"]).str)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def boundary(model: BaseModel) -> str | None:
    """The last stage before the first in which anything is trained; None where that is the first of all."""
    live = {model.card.block_of(name) for name in model.trainable}
    before = None
    for stage in model.stages_after(None):
        if stage in live:
            return before if before in model.entries else None
        before = stage
    return None


def digests_of(split: Split, workers: int | None) -> list[bytes]:
    """SHA-256 of the content of each image; of a file, of its bytes; of one that is not there, of its name."""
    from xfer.data.loader import threads

    if not threads(workers):
        return [_content(split.images[i]) for i in range(len(split))]
    with ThreadPoolExecutor(threads(workers)) as pool:
        return list(pool.map(lambda i: _content(split.images[i]), range(len(split))))


def _content(source: Any) -> bytes:
    found = hashlib.sha256()
    if isinstance(source, Image.Image):
        orientation = source.getexif().get(0x0112, 1)
        found.update(f"image {source.mode} {source.size} {orientation} ".encode())
        found.update(np.asarray(source.convert("RGBA")).tobytes())
        found.update(source.tobytes())
    elif isinstance(source, np.ndarray):
        found.update(f"array {source.shape} {source.dtype.str} ".encode())
        found.update(np.ascontiguousarray(source).tobytes())
    elif isinstance(source, bytes):
        found.update(b"file " + source)
    else:
        try:
            found.update(b"file " + Path(source).read_bytes())
        except OSError:
            found.update(b"missing " + os.fsencode(source))
    return found.digest()


def space_name(model: BaseModel, after: str) -> str:
    """The folder of what a model makes of images up to a stage: a digest of all that decides a row but the image."""
    frozen = model.stages_after(None)[: model.stages_after(None).index(after) + 1]
    names = [name for name in model.shapes() if model.card.block_of(name) in frozen]
    found = hashlib.sha256()
    described = {
        "format": FORMAT,
        "backend": model.backend.name,
        "versions": model.backend.versions(),
        "device": model.spec.device.partition(":")[0],  # the GPUs of one run share a space
        "precision": model.spec.precision,
        "model": model.name,
        "after": after,
        "preprocessing": asdict(model.spec.preprocessing),
    }
    found.update(json.dumps(described, sort_keys=True).encode())
    for name, array in model.read(names).items():
        found.update(name.encode() + b"\0" + np.ascontiguousarray(array).tobytes())
    return f"{model.name.replace(':', '-')}-{found.hexdigest()[:24]}"


def _compute(
    model: BaseModel,
    split: Split,
    missing: Sequence[int],
    digests: Sequence[bytes],
    after: str,
    space: _Space,
    known: dict[bytes, int],
    batch_size: int,
    workers: int | None,
) -> dict[int, str]:
    """Append the rows of missing images, each content once, and make them known; the reasons of the unreadable."""
    from xfer.data import Loader

    first: dict[bytes, int] = {}
    for i in missing:
        first.setdefault(digests[i], i)
    places = np.array(list(first.values()), np.int64)
    if not len(places):
        return {}
    plain = replace(split.subset(places), columns=None, column_names=(), targets=None, names=[str(i) for i in places])
    loader = Loader(plain, model.spec.preprocessing, batch_size=batch_size, workers=workers)
    rows: list[np.ndarray] = []
    keys: list[bytes] = []
    for batch in loader.epoch(0, allow_nothing=True):
        rows.append(model.stage(batch.inputs, after))
        keys += [digests[places[i]] for i in batch.indices]
        if sum(row.nbytes for row in rows) >= _FLUSH:
            known |= space.append(keys, np.concatenate(rows))
            rows, keys = [], []
    if rows:
        known |= space.append(keys, np.concatenate(rows))
    bad = {digests[int(skipped.name)]: skipped.reason for skipped in loader.skipped}
    return {i: bad[digests[i]] for i in missing if digests[i] in bad}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
