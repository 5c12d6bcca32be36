"""Files of the Hugging Face Hub, `hf://owner/repo[@revision][/file]`, through huggingface_hub and its cache.

Its environment variables hold: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE`. What comes
from there is not trusted: only safetensors are taken as weights, and readers check every byte.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from xfer.errors import UsageError, WeightsError, XferError, first_line
from xfer.runtime.paths import hub_cache
from xfer.runtime.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
WEIGHTS = "model.safetensors"  # what a repository's weights are called by convention

_REPO = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(rf"{SCHEME}({_REPO})(?:@(refs/(?:pr|convert)/[^/]+|[^/]+))?(?:/(.+))?", re.ASCII)
_FILE = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_OTHER_KINDS = ("datasets", "spaces", "buckets", "kernels")
_LOG_IN = "log in (`hf auth login`, or HF_TOKEN)"


@dataclass(frozen=True)
class HubAddress:
    """A repository of models, a revision of it, and a file in it.

    Args:
        repo: "owner/name".
        revision: a branch, a tag or a commit; None is the main branch.
        file: a path in the repository, if one is named.
    """

    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        revision, file = self.revision and f"@{self.revision}", self.file and f"/{self.file}"
        return f"{SCHEME}{self.repo}{revision or ''}{file or ''}"

    @classmethod
    def parse(cls, address: str) -> HubAddress:
        """The parts of `hf://owner/repo[@revision][/file]`; a "/" in a revision is written "%2F".

        Raises:
            UsageError: it is none.
        """
        found = _ADDRESS.fullmatch(address)
        if found is None or found[1].partition("/")[0] in _OTHER_KINDS or (found[3] and not _FILE.fullmatch(found[3])):
            raise UsageError(f"{address!r} is no model on the hub: expected hf://owner/repo[@revision][/file]")
        return cls(found[1], found[2] and unquote(found[2]), found[3])


@dataclass(frozen=True)
class WeightsSource:
    """The file on the hub that weights were loaded from, as manifests record it.

    Args:
        repo: "owner/name".
        commit: hash of the commit that its revision was.
        file: its path in the repository.
        sha256: of its bytes.
        revision: the branch or tag that was asked for; None for the main branch.
    """

    repo: str
    commit: str
    file: str
    sha256: str
    revision: str | None = None


@dataclass(frozen=True)
class HubFile:
    """A file of the hub in the local cache."""

    path: Path
    address: HubAddress
    commit: str

    def source(self, sha256: str) -> WeightsSource:
        """What is recorded of it."""
        assert self.address.file is not None
        return WeightsSource(self.address.repo, self.commit, self.address.file, sha256, self.address.revision)


def is_hub(address: object) -> bool:
    """Whether this is an address of the hub."""
    return isinstance(address, str) and address.startswith(SCHEME)


def endpoint() -> str:
    """The hub: `$HF_ENDPOINT`, else huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def client(token: str | None = None) -> HfApi:
    """The client of huggingface_hub; by default with the token of `HF_TOKEN` or `hf auth login`.

    Raises:
        UsageError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError:
        raise UsageError('hf:// needs huggingface_hub: pip install "xfer-learn[hub]"') from None
    return HfApi(endpoint(), token=token, library_name="xfer", library_version=__version__)


def download(address: HubAddress, *, limit: int | None = None) -> HubFile:
    """A file of the hub in the cache of huggingface_hub, downloaded if it is not there.

    A connection that breaks is taken up again; what is incomplete never gets the file's name.

    Args:
        address: with a file.
        limit: most bytes that are downloaded.

    Raises:
        MissingFileError: no such file. WeightsError: no such repository or revision; no permission; not reachable and
            not in the cache; too large.
    """
    assert address.file is not None
    hub = client()
    where: dict[str, Any] = {"repo_id": address.repo, "filename": address.file, "cache_dir": hub_cache()}
    with errors(address):
        if limit is not None:
            size = hub.hf_hub_download(**where, revision=address.revision, dry_run=True).file_size
            if size is None or size > limit:
                raise WeightsError(f"{address} has {size} bytes: at most {limit:,} are downloaded")
        path = Path(hub.hf_hub_download(**where, revision=address.revision))
    return HubFile(path, address, path.parents[address.file.count("/")].name)


def download_weights(address: str) -> tuple[Path, WeightsSource]:
    """The safetensors file at an address, by default `model.safetensors`, and what is recorded of it.

    Where the hub knows the file's SHA-256, which then is the name of its blob in the cache, the bytes are compared.

    Raises:
        UsageError: another kind of file. WeightsError: see `download`; or it is damaged.
    """
    found = HubAddress.parse(address)
    name = found.file or WEIGHTS
    if not name.endswith(".safetensors"):
        raise UsageError(f"{address}: only .safetensors files are taken from the hub")
    try:
        file = download(HubAddress(found.repo, found.revision, name))
    except MissingFileError as error:
        hint = "" if found.file else ": name the file, as in hf://owner/repo/weights.safetensors"
        raise WeightsError(f"{error}{hint}") from None
    with file.path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    blob = file.path.readlink().name if file.path.is_symlink() else ""
    if re.fullmatch("[0-9a-f]{64}", blob) and blob != digest:
        raise WeightsError(f"{file.address} is damaged: remove {os.path.realpath(file.path)} and run again")
    return file.path, file.source(digest)


class MissingFileError(WeightsError):
    """A repository without the file that was asked for."""


@contextmanager
def errors(address: HubAddress) -> Iterator[None]:
    """Errors of huggingface_hub in one line each; none says what token was used.

    Raises:
        WeightsError: what went wrong; MissingFileError: no such file. UsageError: what the hub does not take.
    """
    theirs: Any = import_module("huggingface_hub.errors")
    repo, revision = f"{SCHEME}{address.repo}", address.revision or "main"
    try:
        yield
    except XferError:
        raise
    except theirs.GatedRepoError:
        raise WeightsError(f"{repo} is gated: accept its terms at {endpoint()}/{address.repo}, and {_LOG_IN}") from None
    except theirs.RepositoryNotFoundError:
        raise WeightsError(
            f"{repo} is not on {endpoint()}, or is private: check the name, or {_LOG_IN} as somebody who may read it"
        ) from None
    except theirs.RevisionNotFoundError:
        raise WeightsError(f"{repo} has no revision {revision!r}: give a branch, a tag or a commit") from None
    except theirs.LocalEntryNotFoundError as error:
        if _known_to_be_missing(address):
            raise MissingFileError(f"{repo} has no file {address.file!r} at revision {revision!r}") from None
        raise WeightsError(f"{address} is not in {hub_cache()}, and {_unreachable(error)}") from None
    except theirs.EntryNotFoundError:
        raise MissingFileError(f"{repo} has no file {address.file!r} at revision {revision!r}") from None
    except theirs.OfflineModeIsEnabled:
        raise WeightsError(f"{repo} cannot be reached: HF_HUB_OFFLINE is set; unset it") from None
    except theirs.HTTPError as error:  # of the hub, or of the connection to it
        raise WeightsError(f"{repo}: {_refusal(error)}") from None
    except (theirs.HFValidationError, ValueError) as error:
        raise UsageError(f"{repo}: {_last_line(error)}") from None
    except (OSError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        raise WeightsError(f"{repo}: {first_line(Exception(str(cause)))}; run again") from None


def _known_to_be_missing(address: HubAddress) -> bool:
    """Whether the cache has noted that there is no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    found = address.file and try_to_load_from_cache(address.repo, address.file, hub_cache(), address.revision)
    return found is _CACHED_NO_EXIST


def _unreachable(error: BaseException) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error.__cause__, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set: unset it to download"
    why = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
    return f"{endpoint()} cannot be reached{why}: check the connection"


def _refusal(error: Any) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403):
        return f"{endpoint()} refuses with {status}: {_LOG_IN} as somebody who may do this"
    if status is not None:
        return f"{endpoint()} answers {status}: {getattr(error, 'server_message', None) or first_line(error)}"
    return f"the connection to {endpoint()} broke ({type(error).__name__}): run again"


def _last_line(error: Exception) -> str:
    """The last line of an error of several: those of the hub end with the reason."""
    return first_line(Exception("\n".join(reversed(str(error).splitlines())))).removeprefix("- ")
