"""Files under URLs, such as `s3://bucket/photos`, through fsspec, and errors in one line.

fsspec finds what a scheme is read by: s3fs for s3, gcsfs for gs, huggingface_hub for hf. Credentials and endpoints are
those of these packages, by their own environment variables and files.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from xfer.errors import DataError, UsageError, XferError, first_line

# Two letters at least: C:// is a drive. hf://owner/repo is a model, see `xfer.weights.hub`.
_URL = re.compile(r"(?!hf://(?!datasets/|buckets/|spaces/))[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "az": "adlfs"}


def is_remote(path: object) -> bool:
    """Whether this is the text of a URL, or a `RemotePath`."""
    return isinstance(path, RemotePath) or (isinstance(path, str) and _URL.match(path) is not None)


@dataclass(frozen=True)
class RemotePath:
    """The path of a file or folder under a URL, with the methods of `pathlib.Path` that xfer uses of data.

    Every method that asks the store raises a DataError or UsageError in one line.
    """

    url: str

    def __post_init__(self) -> None:
        scheme, _, rest = self.url.partition("://")
        object.__setattr__(self, "url", f"{scheme.lower()}://{rest.rstrip('/')}")

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        """A path below this one, or the URL that is named if it is of the same store.

        Raises:
            DataError: a URL of another store: what a table names leads nowhere that its user has not named.
        """
        if is_remote(name):
            if self.store != (other := RemotePath(name)).store:
                raise DataError(f"{name} is not in {self.store}: give the folder that it is in as root")
            return other
        return RemotePath(f"{self.url}/{name.lstrip('/')}") if name else self

    @property
    def store(self) -> str:
        """Scheme and bucket, or host."""
        return "/".join(self.url.split("/")[:3])

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """As that of a `Path`."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder that it is in."""
        above = self.url.rpartition("/")[0]
        return self if above.endswith(("/", ":")) else RemotePath(above)

    def exists(self) -> bool:
        """Whether there is a file or a folder."""
        with self._errors() as (store, path):
            return bool(store.exists(path))

    def is_dir(self) -> bool:
        """Whether it is a folder, or what stands for one in a store: the beginning of names."""
        with self._errors() as (store, path):
            return bool(store.isdir(path))

    def is_file(self) -> bool:
        """Whether it is a file."""
        with self._errors() as (store, path):
            return bool(store.isfile(path))

    def read_bytes(self, limit: int | None = None) -> bytes:
        """The content, or so many bytes of it.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with self._errors(missing=True) as (store, path):
            return bytes(store.cat_file(path, end=limit) if limit is not None else store.cat_file(path))

    def open(self, mode: str = "r", encoding: str | None = None, newline: str | None = None) -> IO[Any]:
        """The content as a file, which is read at once.

        Raises:
            DataError: there is no such file.
        """
        try:
            content = io.BytesIO(self.read_bytes())
        except FileNotFoundError:
            raise DataError(f"{self.url} does not exist") from None
        return content if "b" in mode else io.TextIOWrapper(content, encoding=encoding, newline=newline)

    def entries(self) -> tuple[list[str], set[str]]:
        """The sorted names of what is in the folder, and those of its folders.

        Whoever needs all that is below asks for `refresh` before.
        """
        with self._errors() as (store, path):
            found = {str(each["name"]).rstrip("/"): each["type"] == "directory" for each in store.ls(path, detail=True)}
        names = {name.rpartition("/")[2]: folder for name, folder in found.items() if name != path.rstrip("/")}
        return sorted(filter(None, names)), {name for name, folder in names.items() if folder}

    def refresh(self) -> None:
        """Have the store list all that is below, in as few requests as it can, and forget what it listed before."""
        with self._errors() as (store, path):
            store.invalidate_cache()
            store.find(path)

    def forget(self) -> None:
        """Forget what the store listed before: another process may have written into it."""
        with self._errors() as (store, _):
            store.invalidate_cache()

    def write_bytes(self, content: bytes) -> None:
        """Write a file, and the folder that it is in where the store has folders."""
        with self._errors(doing="write") as (store, path):
            store.makedirs(path.rpartition("/")[0], exist_ok=True)
            store.pipe_file(path, content)

    def upload(self, file: Path) -> None:
        """Write a file that is on this machine."""
        with self._errors(doing="write") as (store, path):
            store.makedirs(path.rpartition("/")[0], exist_ok=True)
            store.put_file(str(file), path)

    def remove(self) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        with self._errors(missing=True, doing="remove") as (store, path):
            store.invalidate_cache()
            if store.exists(path):
                store.rm(path, recursive=True)

    @contextmanager
    def _errors(self, *, missing: bool = False, doing: str = "read") -> Iterator[tuple[Any, str]]:
        """The file system and the path in it; its errors in one line."""
        try:
            yield file_system(self.url)
        except XferError:
            raise
        except FileNotFoundError as error:
            if missing:
                raise
            raise DataError(f"{self.url} does not exist: {first_line(error)}") from None
        except Exception as error:  # of whatever package reads the scheme
            raise DataError(f"cannot {doing} {self.url}: {reason(error)}") from None


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it.

    Raises:
        UsageError: a package is not installed, or nothing reads this scheme.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UsageError(f'{url} is read by fsspec: pip install "xfer-learn[remote]"') from None
    scheme = url.partition("://")[0]
    if "::" in url:
        raise UsageError(f"{url} is a chain of URLs: give a single one, such as s3://bucket/folder")
    try:
        store, path = url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        hint = f"pip install {package}" if package else first_line(error)
        raise UsageError(f"{url} needs a package for {scheme}://: {hint}") from None
    except ValueError as error:
        raise UsageError(f"{url}: {first_line(error)}") from None
    return store, str(path)


def reason(error: Exception) -> str:
    """Why a store refuses, and what to do where that is known."""
    said = first_line(error)
    if isinstance(error, PermissionError) or "credential" in said.lower():
        return f"{said}; give credentials as its package expects them, such as AWS_PROFILE or AWS_ACCESS_KEY_ID for s3"
    return said
