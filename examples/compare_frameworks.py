"""The same run on both frameworks, side by side: a table, and a page with curves and disagreements.

usage: python examples/compare_frameworks.py [DATA]
"""

import sys

from rich import print

import xfer


def main(data: str = "digits", **options) -> None:
    settings = {"model": "efficientnet_lite0", "epochs": 2, "fine_tune": 1, "limit": 600, "image_size": 64, "lr": 3e-3}
    comparison = xfer.compare(data, backends=("torch", "tensorflow"), out="comparison", **(settings | options))
    print(comparison.table())
    print("[bold]comparison/report.html[/bold] has the curves, and the pictures on which they disagree")


if __name__ == "__main__":
    main(*sys.argv[1:])
