"""Plots of one evaluation as PNG files: the confusion matrix and the reliability diagram."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from xfer.evaluation.reliability import Reliability
from xfer.report import charts
from xfer.report.svg import PRINT, Drawing, drawing

_DPI = 150


def confusion(counts: np.ndarray, classes: Sequence[str]) -> bytes:
    """The confusion matrix; see `xfer.report.charts.confusion`."""
    return png(charts.confusion(counts, classes, title=f"{int(np.trace(counts))} of {int(counts.sum())} right"))


def reliability(found: Reliability) -> bytes:
    """The reliability diagram; see `xfer.report.charts.reliability`."""
    return png(charts.reliability(found, title=f"calibration error {found.error:.4f}"))


def png(draw: Drawing) -> bytes:
    """What `draw` draws, in print colours on white."""
    written = io.BytesIO()
    with drawing(PRINT):
        figure = draw(PRINT)
        figure.savefig(
            written, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.1, metadata={"Software": None}
        )
    return written.getvalue()
