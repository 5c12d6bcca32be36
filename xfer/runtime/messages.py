"""Lines on stderr, which end nothing: stderr may be closed, or whoever reads it may have gone."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import IO


class Messages:
    """A text stream that never raises.

    Args:
        stream: where to; None for nowhere.
        owned: whether `close` closes it.
    """

    def __init__(self, stream: IO[str] | None, *, owned: bool = False) -> None:
        self._stream, self._owned = stream, owned
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write text, with escapes for what the encoding lacks."""
        try:
            if self._stream is not None:
                self._stream.write(text)
        except UnicodeEncodeError:
            self.write(text.encode("ascii", "backslashreplace").decode())
        except BrokenPipeError:
            self._abandon()
        except (OSError, ValueError):  # a terminal that was closed, a stream that was
            pass
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except BrokenPipeError:
            self._abandon()
        except (OSError, ValueError):
            pass

    def line(self, text: str) -> None:
        """Write a line now."""
        self.write(f"{text}\n")
        self.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """Its file descriptor.

        Raises:
            OSError: it has none.
        """
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def close(self) -> None:
        """Close the stream, if it is owned."""
        if self._owned and self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.close()

    def _abandon(self) -> None:
        """Send to nowhere what is still buffered, so that the interpreter does not fail to flush it at its end."""
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def on_stderr(text: str) -> None:
    """One line on stderr."""
    Messages(sys.stderr).line(text)


def own_stderr() -> Messages:
    """Stderr by a file descriptor of its own where it has one: some code holds back what descriptor 2 is given."""
    stderr = sys.stderr
    if stderr is sys.__stderr__ and stderr is not None:
        with suppress(OSError, ValueError):
            copy = os.fdopen(os.dup(stderr.fileno()), "w", encoding=stderr.encoding, errors="backslashreplace")
            return Messages(copy, owned=True)
    return Messages(stderr)
