"""Whether two engines find the same gap: the tables of two `gap.json` side by side, and their differences.

usage: python benchmarks/gap_engines.py TORCH/gap.json TENSORFLOW/gap.json

Both are of the same command on two backends, so their runs have the same seeds: the difference between the engines is
taken at each seed, with the 95 % interval of a paired t-test. They agree where it holds 0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from xfer.workflows.differences.gap import SHOWN
from xfer.workflows.differences.interval import Estimate


def main(first: str, second: str) -> None:
    """Print a table in Markdown, and how many rows agree."""
    a, b = (json.loads(Path(path).read_text("utf-8")) for path in (first, second))
    if a["seeds"] != b["seeds"] or [row["name"] for row in rows(a)] != [row["name"] for row in rows(b)]:
        sys.exit("the two gaps are of other seeds or parts")
    engines = a["backend"], b["backend"]
    for metric, (scale, digits) in SHOWN.items():
        print(f"\n| part | {metric} on {engines[0]} | on {engines[1]} | difference |\n|---|---|---|---|")
        agree = 0
        for x, y in zip(rows(a), rows(b), strict=True):
            between = Estimate.of(np.subtract(y[metric]["by_seed"], x[metric]["by_seed"]).tolist())
            agree += between.within_noise
            cells = [Estimate(**each).text(scale, digits) for each in (x[metric], y[metric])]
            print(f"| {x['name']} | {' | '.join(cells)} | {between.text(scale, digits)} |")
        worst = np.subtract(a[metric], b[metric])
        print(f"\n{agree} of {len(rows(a))} intervals of the difference hold 0; the runs with nothing exchanged differ")
        print(f"by {scale * np.abs(worst).max():.{digits}f} at the most.")


def rows(gap: dict[str, Any]) -> list[dict[str, Any]]:
    """Parts, what is unexplained, and all together."""
    return [*gap["effects"], gap["unexplained"], gap["together"]]


if __name__ == "__main__":
    main(*sys.argv[1:])
