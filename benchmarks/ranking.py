"""The ranking of `xfer rank` beside the accuracy that the same networks reach when they are fine-tuned.

    python benchmarks/ranking.py DATA                     # a folder with train/CLASS and val/CLASS
    python benchmarks/ranking.py DATA --limit 500 --backends torch

Networks are ranked on the training images on each backend, by `xfer rank`. Each is then trained by `xfer train` on the
first of the backends, a head and after it the last block, and judged on the validation images. Every command is a
process of its own. Spearman's rank correlation is between a score and the fine-tuned accuracy.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import write
from scipy.stats import spearmanr

MODELS = "efficientnet_lite0,efficientnet_lite1,efficientnet_lite2,resnet18:none,mobilenet_v2:none"
SCORES = ("logme", "probe_accuracy", "knn_accuracy")


def xfer(*arguments: object) -> dict[str, Any]:
    """What a command prints with --json."""
    command = [sys.executable, "-m", "xfer", *map(str, arguments), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Rank, train, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--backends", default="torch,tensorflow")
    parser.add_argument("--limit", type=int, help="images of each split")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--fine-tune", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    backends = given.backends.split(",")
    limit = ["--limit", given.limit] if given.limit else []
    ranked = {name: xfer("rank", given.data, "--models", given.models, "--backend", name, *limit) for name in backends}
    scores = {name: {row["model"]: row for row in found["ranking"]} for name, found in ranked.items()}
    accuracy = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in scores[backends[0]]:
            name, _, weights = model.partition(":")
            chosen = ["--model", name, *(["--weights", weights] if weights else []), "--backend", backends[0]]
            plan = ["--epochs", given.epochs, "--fine-tune", given.fine_tune, "--out", Path(folder, name)]
            accuracy[model] = xfer("train", given.data, *chosen, *plan, *limit)["val"]["accuracy"]
    rows, models = [], list(accuracy)
    for model in models:
        row: dict[str, Any] = {"": model, "fine-tuned": f"{accuracy[model]:.1%}"}
        for name in backends:
            each = scores[name][model]
            row[f"LogME, {name}"] = f"{each['logme']:.4f}"
            low, high = each["interval"]
            row[f"probe, {name}"] = f"{each['probe_accuracy']:.1%} ({low:.1%} to {high:.1%})"
            row[f"k-NN, {name}"] = f"{each['knn_accuracy']:.1%}"
            row[f"ms/image, {name}"] = each["seconds_per_image"] * 1e3
        rows.append(row)
    print(write("Ranking", rows, given.json, given.md, ranked=ranked, accuracy=accuracy))
    for score in SCORES:
        values = [scores[backends[0]][model][score] for model in models]
        correlation = spearmanr(values, [accuracy[model] for model in models]).statistic
        print(f"Spearman's correlation of {score} and the fine-tuned accuracy: {correlation:.2f}")


if __name__ == "__main__":
    main()
