"""Downloads that are resumed and verified.

Bytes go into `<name>.part`; only a file whose SHA-256 is right gets its name. A lock keeps two processes from writing
the same part.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from xfer.errors import WeightsError
from xfer.runtime.progress import announce, show_progress, work
from xfer.runtime.version import __version__

Progress = Callable[[int, int | None], None]

MIRROR = "XFER_WEIGHTS_MIRROR"

_CHUNK = 1 << 20


def fetch(
    url: str,
    *,
    digest: str,
    folder: Path,
    progress: Progress | None = None,
    timeout: float = 30.0,
    retries: int = 3,
) -> Path:
    """A verified local copy of `url`, downloaded if it is not there.

    Args:
        url: http or https; `$XFER_WEIGHTS_MIRROR` replaces everything before the file's name.
        digest: the file's SHA-256 in hex, or at least its first 8 digits; or "md5:" and its MD5.
        folder: where the file is kept.
        progress: called with bytes done and bytes in all (None if unknown); by default a bar in a terminal.
        timeout: seconds without an answer.
        retries: how often a broken connection is taken up again.

    Raises:
        WeightsError: offline, refused by the server, cut off, wrong hash, or a folder that cannot be written.
    """
    name = url.rsplit("/", 1)[-1]
    if mirror := os.environ.get(MIRROR):
        url = f"{mirror.rstrip('/')}/{name}"
    if not url.startswith(("http://", "https://")):
        raise WeightsError(f"cannot download {url!r}: give an http or https address in {MIRROR}")
    target = folder / name
    if target.exists() and matches(target, digest):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            if not (target.exists() and matches(target, digest)):
                with _shown(name, progress) as report:
                    _download(url, target, digest, report, timeout, retries)
    except OSError as error:
        raise WeightsError(
            f"cannot write {target}: {error.strerror or error}; set XFER_HOME to another folder"
        ) from None
    return target


def matches(path: Path, digest: str) -> bool:
    """Whether a file has that SHA-256, or one that begins so; with "md5:" before it, that MD5."""
    kind, _, digits = digest.rpartition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind or "sha256").hexdigest().startswith(digits)


def _download(url: str, target: Path, digest: str, report: Progress, timeout: float, retries: int) -> None:
    part = target.with_name(target.name + ".part")
    note = target.with_name(target.name + ".part.json")
    by_hand = f"put the file at {target} by hand, or give its path as weights"
    for attempt in range(retries + 1):
        try:
            if _receive(url, part, note, report, timeout):
                break
        except urllib.error.HTTPError as error:
            raise WeightsError(f"{url}: the server says {error.code} {error.reason}; {by_hand}") from None
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            if attempt == retries:
                reason = getattr(error, "reason", error)
                raise WeightsError(f"cannot reach {url} ({reason}); {by_hand}") from None
        time.sleep(min(0.2 * 2**attempt, 5.0))
    else:
        raise WeightsError(f"{url} broke off at {part.stat().st_size:,} bytes {retries + 1} times: run again to resume")
    if not matches(part, digest):
        part.unlink()
        note.unlink(missing_ok=True)
        kind, digits = ("MD5", digest[4:]) if digest.startswith("md5:") else ("SHA-256", digest)
        raise WeightsError(f"{url} is not the expected file: its {kind} does not begin with {digits[:8]}; {by_hand}")
    part.replace(target)
    note.unlink(missing_ok=True)


def _receive(url: str, part: Path, note: Path, report: Progress, timeout: float) -> bool:
    """One connection: append to the part, or begin anew if the server has another file now. Whether it is whole."""
    have = part.stat().st_size if part.exists() else 0
    known = _read_note(note)
    headers = {"User-Agent": f"xfer/{__version__}", "Accept-Encoding": "identity"}
    if have and known.get("url") == url and known.get("tag"):
        headers |= {"Range": f"bytes={have}-", "If-Range": known["tag"]}
    else:
        have = 0
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink(missing_ok=True)  # the part is no beginning of the server's file
        return False
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        note.write_text(json.dumps({"url": url, "tag": "" if tag.startswith("W/") else tag}))  # weak tags can't resume
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                report(have, total)
            file.flush()
            os.fsync(file.fileno())
    return total is None or have == total


def _read_note(note: Path) -> dict[str, str]:
    try:
        found = json.loads(note.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


@contextmanager
def _shown(name: str, progress: Progress | None) -> Iterator[Progress]:
    """The caller's progress, a bar in a terminal, or one line in a log."""
    if progress is not None:
        yield progress
        return
    with show_progress(), work(f"downloading {name}", None, "MB") as report:
        announce(f"downloading {name}")
        yield lambda done, total: report.reach(done / 1e6, total and total / 1e6)
