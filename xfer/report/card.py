"""The model card of a run: what the hub shows of it, as Markdown with metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from xfer.checkpoints.manifest import Manifest
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.metrics import METRICS
from xfer.weights.hub import SCHEME

PICTURE = "confusion.png"

# Those with a confidence interval; the others are in metrics.json.
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "top5_accuracy", "loss", "ece")
_MOST_COUNTS = 12  # classes of a confusion matrix that is written as a table
_LEVEL = 0.95


@dataclass(frozen=True)
class Card:
    """What a model card says.

    Args:
        repo: "owner/name".
        manifest: of the run.
        metrics: what `metrics.json` says; empty where a model was pushed without a run.
        evaluation: predictions on the images that were judged, if there are any.
        license: an identifier of the hub such as "apache-2.0".
        picture: whether the confusion matrix is a picture beside the card.
    """

    repo: str
    manifest: Manifest
    metrics: Mapping[str, Any]
    evaluation: Evaluation | None
    license: str | None
    picture: bool

    def text(self) -> str:
        """README.md: metadata that huggingface_hub reads, then sections."""
        sections = (self._use(), self._data(), self._figures(), self._classes(), self._confusion(), self._training())
        title = f"# {self.repo.partition('/')[2]}\n\n{self._summary()}"
        return f"---\n{self._metadata()}\n---\n\n" + "\n\n".join([title, *filter(None, sections)]) + "\n"

    def _metadata(self) -> str:
        from huggingface_hub import EvalResult, ModelCardData

        results = [
            EvalResult(
                task_type="image-classification",
                dataset_type="image-folder",
                dataset_name=self._data_name or "unnamed",
                dataset_split=split,
                metric_type=name,
                metric_value=value,
            )
            for split, scores in self._scores().items()
            for name, value in scores.items()
            if name in SHOWN
        ]
        data = ModelCardData(
            license=self.license,
            library_name="xfer",
            pipeline_tag="image-classification",
            tags=["image-classification", "transfer-learning", "pytorch", "tensorflow", "keras"],
            model_name=self.repo.partition("/")[2] if results else None,
            eval_results=results or None,
        )
        return data.to_yaml()

    def _scores(self) -> dict[str, dict[str, float]]:
        """Metrics by split."""
        found = {name: dict(self.metrics[key]) for key, name in _SPLITS.items() if key in self.metrics}
        if self.evaluation is not None and "validation" not in found:
            found["validation"] = self.evaluation.metrics
        return found

    @property
    def _data_name(self) -> str:
        return PurePath(str(self.metrics.get("data", {}).get("source", ""))).name

    def _summary(self) -> str:
        manifest = self.manifest
        if manifest.tasks:
            tasks = ", ".join(f"{cell(task.name)} ({task.kind})" for task in manifest.tasks)
            return f"`{manifest.model}` for {len(manifest.tasks)} tasks: {tasks}."
        return f"`{manifest.model}` that classifies images of {manifest.preprocessing.size} pixels into " + (
            f"{len(manifest.classes)} classes. The same weights run on PyTorch, TensorFlow and JAX."
        )

    def _use(self) -> str:
        call = "model.predict_tasks(" if self.manifest.tasks else "model.predict("
        if self.manifest.model.startswith("wrapped:"):
            return f"## Use\n\nBuild the network and give `weights={SCHEME + self.repo!r}` to `xfer.wrap`."
        return (
            "## Use\n\n```\n"
            'pip install "xfer-learn[torch,hub]"              # or "xfer-learn[tensorflow,hub]"\n```\n\n'
            "```python\nimport xfer\n\n"
            f'model = xfer.load("{SCHEME}{self.repo}", backend="torch")      # or backend="tensorflow"\n'
            f'print({call}"photo.jpg"))\n```\n\n'
            f"`xfer predict {SCHEME}{self.repo} photo.jpg` does the same on the command line."
        )

    def _data(self) -> str:
        data = self.metrics.get("data")
        if not data:
            return ""
        name = f"`{cell(self._data_name)}`: " if self._data_name else ""
        return f"## Data\n\n{name}{data['train']:,} images to train on, {data['val']:,} to validate."

    def _figures(self) -> str:
        scores = self._scores()
        if not scores:
            return ""
        names = [name for name in SHOWN if any(name in of for of in scores.values())]
        names = names or list(dict.fromkeys(name for of in scores.values() for name in of))  # of several tasks
        rows = [
            [name, *(_number(of.get(name)) for of in scores.values()), self._interval(name)] for name in names
        ]  # fmt: skip
        tuned = self.metrics.get("tuned_on_val")
        note = f"\n\nTuned on validation: {', '.join(tuned)}." if tuned else ""
        images = f", {len(self.evaluation.names):,} images" if self.evaluation else ""
        interval = f"95 % interval (validation{images})"
        return "## Metrics\n\n" + table(["", *scores, interval], rows) + note

    def _interval(self, name: str) -> str:
        if self.evaluation is None or name not in self.evaluation.metrics or name not in METRICS:
            return ""
        found = self.evaluation.interval(name, level=_LEVEL)
        return f"{found.low:.4f} to {found.high:.4f}"

    def _classes(self) -> str:
        if self.evaluation is None:
            return "" if self.manifest.tasks else "## Classes\n\n" + ", ".join(map(cell, self.manifest.classes))
        rows = [
            [each.name, f"{each.images:,}", *(_number(x) for x in (each.precision, each.recall, each.f1, each.roc_auc))]
            for each in self.evaluation.per_class()
        ]
        return "## Classes\n\n" + table(["class", "images", "precision", "recall", "F1", "ROC-AUC"], rows)

    def _confusion(self) -> str:
        if self.evaluation is None:
            return ""
        classes, counts = self.evaluation.classes, self.evaluation.confusion
        if self.picture:
            return f"## Confusion matrix\n\n![Confusion matrix: true classes in rows, predicted in columns]({PICTURE})"
        if len(classes) > _MOST_COUNTS:
            return ""
        rows = ([name, *map(str, row)] for name, row in zip(classes, counts.tolist(), strict=True))
        return "## Confusion matrix\n\n" + table(["true \\ predicted", *classes], rows)

    @property
    def _auto_lr(self) -> float | str | None:
        return None if self.manifest.training is None else self.manifest.training.auto_lr

    def _training(self) -> str:
        manifest, config = self.manifest, self.metrics.get("config", {})
        rows = [
            ["architecture", manifest.model],
            *([["initial weights", origin]] if (origin := _origin(manifest, config)) else []),
            *([["position embeddings", _resized(*manifest.resized)]] if manifest.resized else []),
            *([name, str(config[name])] for name in _SETTINGS if config.get(name) not in (None, "none")),
            *([["lr found by the range test", f"{found:.6g}"]] if isinstance(found := self._auto_lr, float) else []),
            ["trained on", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())],
            ["xfer", manifest.xfer],
            ["SHA-256 of the weights", manifest.tensors.sha256],
        ]
        return "## Training\n\n" + table(["", ""], rows)


_SPLITS = {"val": "validation", "test": "test"}
_SETTINGS = ("epochs", "fine_tune", "unfreeze", "optimizer", "lr", "schedule", "batch_size", "augment", "mix", "loss")


def _origin(manifest: Manifest, config: Mapping[str, Any]) -> str:
    if (source := manifest.source) is not None:
        return f"{SCHEME}{source.repo}@{source.commit}/{source.file}"
    return PurePath(str(config.get("weights", ""))).name


def _resized(before: int, after: int) -> str:
    return f"resized from {before} x {before} to {after} x {after} places"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown, whatever the cells hold."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: str) -> str:
    """Text as Markdown shows it, in one line: a class may be called `a|b`, `<b>` or `![x](y)`."""
    shown = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode())
    return re.sub(r"([\\`*_\[\]<>|#!&])", r"\\\1", shown) if shown != "---" else shown


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
