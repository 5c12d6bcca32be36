"""What the stages of a comparison share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xfer.traces.findings import Finding, finding
from xfer.traces.losses import LossRule
from xfer.traces.pairing import Pairs
from xfer.traces.view import Array, View


@dataclass
class Context:
    """Two runs, how they are paired, and what was found so far.

    Attributes:
        order: which sample of the second batch each of the first is, by step; None where there is none to find.
        findings: in the order of the stages.
        notes: what could not be compared, and what differs by chance alone.
        difference: the largest relative difference of what was compared directly, and where.
        rules: the loss functions, where they are known.
    """

    a: View
    b: View
    pairs: Pairs
    order: dict[int, Array | None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    difference: tuple[float, str] = (0.0, "")
    rules: tuple[LossRule | None, LossRule | None] = (None, None)

    @property
    def random(self) -> bool:
        """Whether a layer draws random numbers in either run, so that what follows it cannot be the same."""
        return any(n.kind == "dropout" and n.config["active"] for view in (self.a, self.b) for n in view.nodes)

    @property
    def u(self) -> float:
        """Unit roundoff of the coarser run."""
        return max(self.a.u, self.b.u)

    @property
    def steps(self) -> range:
        """Steps that both have."""
        return range(min(len(self.a.steps), len(self.b.steps)))

    def add(self, cause: str, where: str | Sequence[str], difference: float, evidence: str, remedy: str) -> None:
        """Add a finding."""
        self.findings.append(finding(cause, where, difference, evidence, remedy))

    def has(self, *stages: str) -> bool:
        """Whether something was found at one of the stages."""
        return any(each.stage in stages for each in self.findings)

    def compared(self, difference: float, where: str) -> None:
        """Two things that should be the same were compared directly."""
        if difference > self.difference[0]:
            self.difference = (difference, where)

    def batch(self, key: str, step: int) -> tuple[Array | None, Array | None]:
        """An array of the whole batch in both runs, samples in the order of the first."""
        ours, theirs = self.a.steps[step].get(key), self.b.steps[step].get(key)
        return ours, self.reordered(theirs, step)

    def reordered(self, array: Array | None, step: int) -> Array | None:
        """An array of the second run with samples in the order of the first."""
        order = self.order.get(step)
        return array if array is None or order is None or len(order) != len(array) else array[order]
