"""Every remedy for skewed classes on one frozen backbone, on both frameworks: a table of what each is worth.

usage: python examples/imbalance.py DATA [--seeds 5] [--backends torch,tensorflow] [--out docs/imbalance.md]
                                    [--results results.json]

DATA is a folder with train/ and val/ of balanced classes, such as 300 + 100 images of each of CIFAR-10's. For each
seed a subset of train is drawn whose classes shrink evenly from the largest to a hundredth of it; validation stays
balanced. The backbone makes one pass over the images; then each remedy trains a head on the features of each subset.
What `--results` holds already is not measured again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import t
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xfer

EPOCHS, RATIO, VIEWS = 20, 100, 5
METRICS = ("balanced_accuracy", "macro_f1")
MADE = ("random-over", "smote", "borderline-smote", "adasyn", "smote-tomek", "gaussian", "gan")
LEFT_OUT = ("random-under", "near-miss", "tomek-links", "edited-neighbours")


def skewed(labels: np.ndarray, seed: int) -> np.ndarray:
    """Indices of a subset: class k of K keeps a share of 100^(-k / (K - 1)), a long tail."""
    rng, classes = np.random.default_rng(seed), labels.max() + 1
    largest = np.bincount(labels).max()
    sizes = [round(largest * RATIO ** (-k / (classes - 1))) for k in range(classes)]
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == k))[:n] for k, n in enumerate(sizes)]))


def remedies(data: xfer.Data, pictures: xfer.Data, model, seed: int) -> dict:
    """By name: how to make the data to train on, options of the trainer, the head, and what is done afterwards."""
    counts = list(data.train.counts().values())
    balanced = LogisticRegression(max_iter=2000, class_weight="balanced")
    weighted = {
        kind: xfer.LossSpec(class_weights=xfer.class_weights(counts, kind)) for kind in ("balanced", "effective")
    }
    fewer = max(1, EPOCHS // VIEWS)  # as many updates, where an epoch has each image several times
    found = {
        "nothing (baseline)": {},
        "class weights, balanced": {"loss": weighted["balanced"]},
        "class weights, effective number": {"loss": weighted["effective"]},
        "focal loss": {"loss": xfer.LossSpec(focal=2.0)},
        "class-balanced focal loss": {"loss": replace(weighted["effective"], focal=2.0)},
        "logit-adjusted loss": {"loss": xfer.LossSpec(adjustment=xfer.log_prior(counts))},
        "over-sampling": {"sampling": "over"},
        "under-sampling": {"sampling": "under"},
        "balanced sampling": {"sampling": "balanced"},
        "more augmentation of small classes": {
            "data": lambda: with_views(model, pictures, data, seed),
            "sampling": "over",
        },
        "Mixup of images": {"data": lambda: mixed(model, pictures, data, "mixup=0.4", seed), "epochs": fewer},
        "CutMix of images": {"data": lambda: mixed(model, pictures, data, "cutmix=1", seed), "epochs": fewer},
        "Mixup of features": {"mix": "mixup=0.4"},
        "Mixup of features, over-sampling": {"mix": "mixup=0.4", "sampling": "over"},
        "thresholds tuned": {"after": "thresholds"},
        "logistic regression, balanced": {"head": xfer.Head.sklearn(make_pipeline(StandardScaler(), balanced))},
    }
    for method in (*MADE, *LEFT_OUT):
        options = {"seed": seed, "backend": model.backend}
        found[method] = {"data": lambda method=method, options=options: xfer.resample(data, method, **options)}
    return found


def measure(path: str, backend: str, seeds: int, results: dict) -> dict:
    """Metrics of every remedy and seed on one backend, those in `results` as they are."""
    data = xfer.data.load(path)
    model = xfer.load("efficientnet_lite0", backend=backend, classes=data.classes)
    features = xfer.extract(model, data)
    # Thresholds are tuned on one half of validation, and everything is judged on the other.
    half = np.arange(len(features.val)) % 2 == 0
    tuning, judging = (features.val.subset(np.flatnonzero(part)) for part in (half, ~half))
    known, results = dict(results), dict(results)
    for seed in range(seeds):
        chosen = skewed(data.train.labels, seed)
        subset = replace(features, train=features.train.subset(chosen), val=judging)
        pictures = replace(data, train=data.train.subset(chosen), val=None)
        for name, remedy in remedies(subset, pictures, model, seed).items():
            if name in known:
                continue
            started = time.perf_counter()
            options = {k: v for k, v in remedy.items() if k in ("loss", "sampling", "mix")}
            model.replace_head(data.classes, remedy.get("head"), seed)
            model.freeze()
            trainer = xfer.Trainer(model, lr=1e-3, seed=seed, restore_best=False, progress=False, **options)
            trainer.fit(
                replace(remedy["data"]() if "data" in remedy else subset, val=None), remedy.get("epochs", EPOCHS)
            )
            if remedy.get("after") == "thresholds":
                xfer.tune_thresholds(model, tuning)
            found = model.evaluate(judging).metrics
            results.setdefault(name, []).append({metric: found[metric] for metric in METRICS})
            seconds = time.perf_counter() - started
            print(
                f"{backend} seed {seed} {name}: {found[METRICS[0]]:.4f} ({seconds:.1f} s)", file=sys.stderr, flush=True
            )
    return results


def with_views(model, pictures: xfer.Data, features: xfer.Data, seed: int) -> xfer.Data:
    """The features, with those of `VIEWS` strongly augmented views of each image of a small class."""
    labels = pictures.train.labels
    counts = np.bincount(labels, minlength=len(pictures.classes))
    small = np.flatnonzero(counts[labels] < counts.mean())
    views = replace(pictures, train=pictures.train.subset(np.repeat(small, VIEWS)))
    made = xfer.extract(model, views, augment="strong", seed=seed).train
    train = replace(
        features.train,
        images=np.concatenate([features.train.images, made.images]),
        labels=np.concatenate([features.train.labels, made.labels]),
        names=[*features.train.names, *(f"view {i} of {name}" for i, name in enumerate(made.names))],
    )
    return replace(features, train=train)


def mixed(model, pictures: xfer.Data, features: xfer.Data, mix: str, seed: int) -> xfer.Data:
    """Features of `VIEWS` mixtures of each image with others."""
    several = np.tile(np.arange(len(pictures.train)), VIEWS)
    made = xfer.extract(model, replace(pictures, train=pictures.train.subset(several)), mix=mix, seed=seed)
    return replace(features, train=made.train)


def table(results: dict) -> str:
    """Means and 95 % intervals over seeds, and whether the backends agree within them."""
    backends = list(results)
    head = [f"{backend}: {metric.replace('_', ' ')}" for backend in backends for metric in METRICS]
    lines = ["| remedy | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    base = [np.array([run[METRICS[0]] for run in results[b]["nothing (baseline)"]]) for b in backends]
    for name in sorted(results[backends[0]], key=lambda name: -worth(results, name)):
        cells, better = [], []
        for backend, reference in zip(backends, base, strict=True):
            for metric in METRICS:
                values = np.array([run[metric] for run in results[backend][name]])
                cells.append(f"{values.mean():.3f} ± {interval(values):.3f}")
            gain = np.array([run[METRICS[0]] for run in results[backend][name]]) - reference
            better.append(gain.mean() - interval(gain) > 0)
        mark = "**" if all(better) else ""
        lines.append(f"| {mark}{name}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def worth(results: dict, name: str) -> float:
    """The mean over backends and seeds, by which the table is sorted."""
    return float(np.mean([run[METRICS[0]] for runs in results.values() for run in runs[name]]))


def interval(values: np.ndarray) -> float:
    """Half the width of Student's 95 % interval of the mean."""
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--backends", default="torch,tensorflow")
    parser.add_argument("--out", type=Path, help="a page whose table is replaced")
    parser.add_argument("--results", type=Path, help="a file that keeps what was measured")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    results = json.loads(given.results.read_text()) if given.results and given.results.exists() else {}
    if given.worker:
        found = measure(given.data, given.backends, given.seeds, results.get(given.backends, {}))
        Path(given.worker).write_text(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as folder:
        for backend in given.backends.split(","):  # each framework in a process of its own
            file = str(Path(folder, f"{backend}.json"))
            command = [sys.executable, __file__, given.data, "--seeds", str(given.seeds), "--backends", backend]
            kept = ["--results", str(given.results)] if given.results else []
            subprocess.run([*command, *kept, "--worker", file], check=True)
            results[backend] = json.loads(Path(file).read_text())
            if given.results:
                given.results.write_text(json.dumps(results, indent=1))
    text = table(results)
    print(text)
    if given.out:
        before, _, rest = given.out.read_text("utf-8").partition("<!-- table -->\n")
        after = rest.partition("<!-- /table -->\n")[2]
        given.out.write_text(f"{before}<!-- table -->\n{text}<!-- /table -->\n{after}", "utf-8")


if __name__ == "__main__":
    main()
