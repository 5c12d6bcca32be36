"""What `xfer.diff` returns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xfer.errors import DataError
from xfer.runtime import html
from xfer.runtime.files import write_atomically
from xfer.traces.context import Context
from xfer.traces.findings import STAGES, Finding

_HEAD = ("stage", "cause", "where", "difference", "evidence", "remedy")


@dataclass(frozen=True)
class Diff:
    """Why two runs differ.

    Attributes:
        a, b: folders of the traces.
        findings: in the order of the stages.
        difference: the largest relative difference of pixels, weights, outputs, gradients and losses that were compared
            directly; of two runs that are the same, how much the same they are.
        at: where that was.
        layers: pairs of names of layers.
        tensors: pairs of names of tensors.
        layouts: how many tensors of b were read in which layout.
        unpaired: names of layers and tensors without a partner, by run.
        notes: what could not be compared, and what differs by chance.
    """

    a: str
    b: str
    findings: tuple[Finding, ...]
    difference: float
    at: str
    layers: tuple[tuple[str, str], ...]
    tensors: tuple[tuple[str, str], ...]
    layouts: dict[str, int]
    unpaired: dict[str, list[str]]
    notes: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @classmethod
    def of(cls, context: Context) -> Diff:
        """The result of all stages."""
        pairs = context.pairs
        findings = sorted(context.findings, key=lambda each: STAGES.index(each.stage))
        layers = tuple((x.name, y.name) for x, y in pairs.nodes)
        tensors = tuple((name, other) for name, (other, _) in pairs.tensors.items())
        unpaired = {
            "a": [*(node.name for node in pairs.only_a), *pairs.tensors_a],
            "b": [*(node.name for node in pairs.only_b), *pairs.tensors_b],
        }
        return cls(
            a=str(context.a.trace.path),
            b=str(context.b.trace.path),
            findings=tuple(findings),
            difference=context.difference[0],
            at=context.difference[1],
            layers=layers,
            tensors=tensors,
            layouts=pairs.layouts,
            unpaired=unpaired,
            notes=tuple(context.notes),
        )

    def __repr__(self) -> str:
        return f"Diff({self.summary})"

    @property
    def summary(self) -> str:
        """One line."""
        if self.same:
            return f"{self.a} and {self.b} are the same: largest relative difference {self.difference:.1e}" + (
                f" ({self.at})" if self.at else ""
            )
        causes = ", ".join(dict.fromkeys(each.cause for each in self.findings))
        return f"{self.a} and {self.b} differ: {causes}"

    def to_json(self) -> str:
        """Everything, as a JSON document."""
        return json.dumps({"same": self.same, **asdict(self)}, indent=1)

    def table(self) -> Any:
        """A rich table for the screen, one row a finding."""
        from rich.markup import escape
        from rich.table import Table

        table = Table("stage", "cause", "where", "difference", "evidence, and the remedy in b", show_lines=True)
        for each in self.findings:
            why = f"{escape(each.evidence)}\n[bold]{escape(each.remedy)}[/]"
            table.add_row(*map(escape, (each.stage, each.cause, each.where, f"{each.difference:.1e}")), why)
        return table

    def _parts(self) -> list[str]:
        rows = [[e.stage, e.cause, e.where, f"{e.difference:.1e}", e.evidence, e.remedy] for e in self.findings]
        parts = [html.title(self.summary)]
        parts += [html.texts(_HEAD, rows)] if rows else []
        return [*parts, *(html.note(line) for line in self.notes)]

    def _repr_html_(self) -> str:
        return html.view(*self._parts())

    def write(self, folder: str | Path) -> Path:
        """Write `diff.json` and the page `diff.html` into a folder, made if needed; returns the page.

        Raises:
            DataError: the folder cannot be written.
        """
        pairs = html.table(("a", "b"), self.layers) + html.table(("a", "b"), self.tensors)
        alone = html.table(
            ("run", "without a partner"), [(run, n) for run, names in self.unpaired.items() for n in names]
        )
        layouts = html.table(("layout in b", "tensors"), list(self.layouts.items()))
        more = (
            html.details("pairs of layers and tensors", pairs),
            html.details("layouts", layouts),
            html.details("alone", alone),
        )
        page = html.page("Why two runs differ", *self._parts(), *more)
        path = Path(folder) / "diff.html"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path.with_suffix(".json"), self.to_json().encode())
            write_atomically(path, page.encode())
        except OSError as error:
            raise DataError(f"cannot write into {folder}: {error.strerror}; give another folder") from None
        return path
