"""Errors: one line that says what was given, what was expected, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

_LONGEST = 2000  # characters of a message; of a longer one, its beginning and its end


class XferError(Exception):
    """Base class of the errors of xfer; the command line prints it without a traceback.

    Whatever a file put into the message, it is shown as one line, without control characters and not without end.
    """

    def __str__(self) -> str:
        text = super().__str__()
        text = text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

    def __reduce__(self) -> Any:
        """As another process gets it: with its message, which is not composed again."""
        return _with_message, (type(self), self.args), self.__dict__


class UsageError(XferError, ValueError):
    """An argument, option or configuration value that cannot be right (exit code 2 on the command line)."""


class UnknownNameError(UsageError):
    """A name that is not in a closed set; the message lists the nearest ones."""

    def __init__(self, kind: str, given: object, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(given), names, n=3, cutoff=0.4)
        hint = f"did you mean {_quoted(near)}?" if near else f"known: {_quoted(names)}"
        super().__init__(f"unknown {kind} {given!r}; {hint}")


def check_name(kind: str, given: object, known: Iterable[str]) -> None:
    """Refuse a name that is not in a closed set.

    Raises:
        UnknownNameError: it is not.
    """
    names = tuple(known)
    if given not in names:
        raise UnknownNameError(kind, given, names)


class BackendError(XferError):
    """A backend that is missing, broken or cannot do what was asked."""


class DeviceError(UsageError):
    """A device that is not there; the message lists what is."""


class WeightsError(XferError):
    """Weights that cannot be found, fetched, trusted or fitted to the model."""


class DataError(XferError):
    """Data that cannot be read or makes no sense as a classification task."""


class UnreadableError(DataError):
    """Images that cannot be read, among others that can.

    Attributes:
        reasons: why not, by name.
        answers: for all images, (N, K), NaN for these; of several tasks, by their names; of `explain` its result.
        predictions: likewise of `predict`, None for these.
    """

    def __init__(self, reasons: Mapping[str, str], answers: Any) -> None:
        name, reason = next(iter(reasons.items()))
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        super().__init__(f"cannot read {name}: {reason}{more}; repair or remove it")
        self.reasons, self.answers, self.predictions = dict(reasons), answers, list[Any]()


class CheckpointError(XferError):
    """A run folder that is incomplete, damaged or from a newer format."""


class DistributedError(XferError):
    """A run in several processes of which one has ended, or has gone another way."""


class NumbersError(XferError):
    """Results that are not finite."""


class TrainingError(XferError):
    """A fit that cannot continue."""


class FrozenError(XferError):
    """Something frozen has changed."""


def _with_message(kind: type[XferError], arguments: tuple[Any, ...]) -> XferError:
    return kind.__new__(kind, *arguments)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(n) for n in names)


def first_line(error: Exception) -> str:
    """The first line of an error, or its kind where it has none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()
