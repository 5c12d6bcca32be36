"""How many exchanged labels `xfer.find_label_issues` ranks highest: `python benchmarks/label_errors.py DATA`.

A share of the labels of the training split of DATA (a folder or table, or 'digits') is exchanged at random with seed 0.
Each backend ranks all of them in a process of its own. "found" is the share of exchanged labels among as many as were
exchanged, the most suspicious first; "suspected" is how many labels are called wrong, and "of them" how many of those
are. The rankings of the backends are compared place by place.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, table

SHARES = (0.05, 0.08)
BACKENDS = ("torch", "tensorflow")


def exchanged(split: Any, share: float) -> tuple[Any, set[str]]:
    """The split with a share of its labels exchanged for others, and the names of those images."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(split), round(share * len(split)), replace=False)
    labels = split.labels.copy()
    labels[chosen] = (labels[chosen] + rng.integers(1, len(split.classes), len(chosen))) % len(split.classes)
    return replace(split, labels=labels), {split.names[i] for i in chosen}


def ranked(data: str, model: str, backend: str, share: float, limit: int | None) -> dict[str, Any]:
    """The ranking of all images and the figures, by one backend."""
    import xfer

    source = xfer.data.digits(val=0) if data == "digits" else xfer.data.load(data, val=0)
    train, wrong = exchanged(source.train if limit is None else source.train.limit(limit), share)
    found = xfer.find_label_issues(train, model, backend=backend)
    first = [each.place.name for each in found.judged[: len(wrong)]]
    called = [each.place.name for each in found.label_errors]
    return {
        "share": share,
        "exchanged": len(wrong),
        "found": sum(name in wrong for name in first) / len(wrong),
        "suspected": len(called),
        "of them": sum(name in wrong for name in called),
        "ranking": [each.place.name for each in found.judged],
        "scores": {each.place.name: each.score for each in found.judged},
    }


def child(arguments: argparse.Namespace, backend: str) -> list[dict[str, Any]]:
    """The same in a process of its own: the frameworks do not meet in one."""
    command = [sys.executable, __file__, arguments.data, "--model", arguments.model, "--only", backend]
    command += ["--shares", *map(str, arguments.shares)]
    command += [] if arguments.limit is None else ["--limit", str(arguments.limit)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return list(json.loads(done.stdout))


def compared(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Places at which rankings differ, and the largest difference of a score."""
    first, other = rows
    return {
        "places": sum(a != b for a, b in zip(first["ranking"], other["ranking"], strict=True)),
        "score": max(abs(score - other["scores"][name]) for name, score in first["scores"].items()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--limit", type=int, help="images of train")
    parser.add_argument("--json", type=Path, help="file of the results")
    parser.add_argument("--only", choices=BACKENDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        found = [ranked(arguments.data, arguments.model, arguments.only, s, arguments.limit) for s in arguments.shares]
        print(json.dumps(found))
        return
    by_backend = {backend: child(arguments, backend) for backend in BACKENDS}
    rows, differences = [], []
    for i, share in enumerate(arguments.shares):
        both = [found[i] for found in by_backend.values()]
        differences.append({"share": share, **compared(both)})
        for backend, row in zip(BACKENDS, both, strict=True):
            rows.append({"backend": backend, **{k: v for k, v in row.items() if k not in ("ranking", "scores")}})
    print(table(rows))
    for each in differences:
        print(f"{each['share']:.0%}: {each['places']} places differ; scores by {each['score']:.1e} at most")
    if arguments.json:
        document = {"machine": machine(), "results": rows, "backends": differences}
        arguments.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
