"""The certificate as files: `parity.json`, and the self-contained page `parity.html`."""

from __future__ import annotations

import re
from pathlib import Path

from xfer.certify.certificate import Certificate, Trial
from xfer.report.compare import require_libraries
from xfer.report.svg import drawing, inline, series
from xfer.report.template import fill
from xfer.runtime.files import write_atomically, writing_into

KINDS = ("loss", "weights", "statistics", "slots")


def write(certificate: Certificate, folder: Path) -> None:
    """Write `parity.json` and `parity.html` into a folder, made if needed.

    Raises:
        XferError: the report's libraries are missing. CheckpointError: the folder cannot be written.
    """
    require_libraries()
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "parity.json", certificate.to_json().encode())
        write_atomically(folder / "parity.html", render(certificate))


def render(certificate: Certificate) -> bytes:
    """The page as UTF-8."""
    from markupsafe import Markup

    charts = [(trial, Markup(drift(trial, f"trial{i}"))) for i, trial in enumerate(certificate.trials)]
    return fill("parity.html", certificate=certificate, charts=charts, number=_number)


def _number(error: float | None) -> str:
    """An error or a bound, short."""
    if error is None:
        return "none"
    return "bitwise" if error == 0 else f"{error:.2g}"


def drift(trial: Trial, name: str) -> str:
    """Errors of losses, weights, statistics and slots over the steps of a trial, on a logarithmic scale."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with drawing():
        figure = Figure(figsize=(4.6, 2.4))
        axes = figure.subplots()
        for i, kind in enumerate(KINDS):
            points = [(int(m[1]), s.error) for s in trial.stages if (m := re.fullmatch(rf"step (\d+): {kind}", s.name))]
            if points:
                axes.plot(
                    *zip(*points, strict=True), color=series(i), label=kind, linewidth=1.4, marker="os^D"[i], ms=3
                )
        axes.set_yscale("symlog", linthresh=1e-17)
        axes.set_ylim(0, 1)
        axes.set_yticks([1e-16, 1e-12, 1e-8, 1e-4, 1], ["1e-16", "1e-12", "1e-8", "1e-4", "1"])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        bound = next((s.bound for s in trial.stages if s.bound and s.name.startswith("step")), None)
        if bound:
            axes.axhline(bound, color="#000002", linewidth=0.8, linestyle="--")
        axes.set_xlabel("step")
        axes.set_ylabel("relative error")
        axes.grid(axis="y")
        axes.legend(
            ncols=4, loc="upper left", bbox_to_anchor=(0, 1.2), borderpad=0, columnspacing=1.2, handlelength=1.4
        )
        return inline(figure, name, f"Relative errors over the steps of {trial.scenario} in {trial.precision}")
