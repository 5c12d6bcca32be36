"""The process that decodes files one after the other, and may crash at any of them.

One line of JSON for each on stdin, {"path": ...} or {"bytes": how many follow it}; one line of JSON for each on stdout,
[digest, width, height, format, mode] or a reason. JSON, because a decoder that was taken over may write what it likes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from xfer.data.images.isolation import MEMORY, SECONDS
from xfer.data.images.probe import ImageInfo, look


def main() -> None:
    """Say that it is ready, and answer until stdin ends."""
    answers = _take_stdout()
    warnings.simplefilter("ignore")
    limited = _limit()
    _answer(answers, "ready")
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        source = Path(asked["path"]) if "path" in asked else sys.stdin.buffer.read(asked["bytes"])
        _end_in(int(2 * SECONDS))  # should nobody be there any more to do it
        try:
            found = look(source)
        except MemoryError:
            if not limited:
                raise
            found = f"decoding it takes more than {MEMORY / 2**30:g} GiB of memory; save it smaller"
        _end_in(0)
        if isinstance(found, ImageInfo):
            _answer(answers, [found.digest.hex(), found.width, found.height, found.format, found.mode])
        else:
            _answer(answers, found)


def _end_in(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _limit() -> bool:
    """No more than `MEMORY` beyond what the process has now, and no core files; whether the system can do that."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, end this one and not the parent
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, OSError, ValueError):
        return False
    return True


def _take_stdout() -> TextIO:
    """Keep stdout for the answers, and send to stderr what decoders print there."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, found: str | list[str | int]) -> None:
    print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
