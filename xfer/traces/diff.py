"""`xfer.diff`: why two recorded runs differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xfer.errors import DataError, XferError, first_line
from xfer.traces.context import Context
from xfer.traces.forward import forward
from xfer.traces.gradients import gradients
from xfer.traces.labels import labels
from xfer.traces.loss import loss
from xfer.traces.mode import mode
from xfer.traces.pairing import pair
from xfer.traces.pixels import pixels
from xfer.traces.result import Diff
from xfer.traces.statistics import statistics
from xfer.traces.trace import open_trace
from xfer.traces.update import update
from xfer.traces.view import View
from xfer.traces.weights import weights

_STAGES = (pixels, labels, weights, mode, forward, loss, gradients, update, statistics)


def diff(a: str | Path, b: str | Path, map: Mapping[str, str] | str | Path | None = None) -> Diff:
    """Compare two traces of `xfer.record` stage by stage, in the order of cause.

    Layers and tensors are paired by name, values, shape and order. Each stage is compared on inputs of the first run,
    so that a difference at one hides none of a later one.

    Args:
        a: folder of the first trace, the one that is as it should be.
        b: folder of the second, that remedies are for.
        map: names of layers or tensors of a and b that belong together where they are not found to; or a TOML file with
            them, `"name in a" = "name in b"`.

    Returns:
        What was found, paired and compared.

    Raises:
        DataError: no trace, or a damaged one. UsageError: a name in the map that is not there.
    """
    ours, theirs = View(open_trace(a)), View(open_trace(b))
    try:
        context = Context(ours, theirs, pair(ours, theirs, _map(map)))
        for stage in _STAGES:
            stage(context)
        if not context.findings and not context.random:
            _ends(context)
    except XferError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        said = f"{type(error).__name__}: {first_line(error)[:100]}"
        raise DataError(f"arrays of {a} and {b} do not fit their description ({said}): record them again") from error
    return Diff.of(context)


def _map(given: Mapping[str, str] | str | Path | None) -> Mapping[str, str]:
    if given is None or isinstance(given, Mapping):
        return given or {}
    import tomllib

    try:
        found = tomllib.loads(Path(given).read_text("utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the map {given}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"the map {given} is no TOML: {error}") from None
    if wrong := [key for key, value in found.items() if not isinstance(value, str)]:
        raise DataError(f'the map {given} has {wrong[0]!r} without a name: write "name in a" = "name in b"')
    return found


def _ends(context: Context) -> None:
    """Losses and weights at the last step that both have, where nothing was found to differ."""
    last = context.steps[-1]
    x, y = (view.steps[last].notes.loss for view in (context.a, context.b))
    if x is not None and y is not None:
        context.compared(abs(x - y) / max(abs(x), 1e-300), f"loss of step {last}")
    apart = whole = 0.0
    for name in context.pairs.tensors:
        own, other = (
            context.a.tensor(name, f"after/{name}", last),
            context.pairs.other(context.b, name, "after/*", last),
        )
        if own is not None and other is not None and own.dtype.kind == "f":
            apart += float(((own.astype(np.float64) - other) ** 2).sum())
            whole += float((own.astype(np.float64) ** 2).sum())
    context.compared(math.sqrt(apart / max(whole, 1e-300)), f"norm of the weights after step {last}")
