"""Every model of the zoo on two backends, as a table: `python -m xfer.certify.zoo docs/zoo.md [MODEL ...]`.

For each model: all forward stages in float64 and float32, and in float64 one step of SGD with momentum and clipping
with everything trainable: gradients, loss, weights, statistics and slots. Cards that are one network with other weights
are measured once. What a machine with 24 GB of memory can't hold is left out, and the table says so. Results are kept
in `xfer/zoo/parity.json`, model by model; those that are there are not made again unless they are named, so that an
interrupted run goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import xfer.zoo
from xfer.certify.certificate import Stage
from xfer.certify.run import parity, smallest
from xfer.certify.scenario import SCENARIOS
from xfer.zoo import Card, card, cards
from xfer.zoo.published import TIMM_FAMILIES

# Parameters up to which a step, the forward pass in float64, and that in float32 fit twice into 24 GB of memory and all
# of the zoo into two hours.
TRAINED, PROVED, RUN = 50_000_000, 120_000_000, 350_000_000
STORE = Path(xfer.zoo.__file__).with_name("parity.json")


def parity_results() -> dict[str, Any]:
    """What was measured, by model: worst errors of "fp64" and "fp32" forward stages and of one "step" in float64."""
    return dict(json.loads(STORE.read_text("utf-8"))) if STORE.exists() else {}


def measure(model: Card) -> dict[str, Any] | None:
    """The worst errors of a model's certificate, None where it is too large."""
    if model.parameters > RUN:
        return None
    trained, proved = model.parameters <= TRAINED, model.parameters <= PROVED
    certificate = parity(
        model.name,
        steps=1,
        scenarios=SCENARIOS[:1] if trained else (),
        precisions=("fp64", "fp32") if proved else ("fp32",),
    )
    versions = {name: version for found in certificate.versions.values() for name, version in found.items()}
    result: dict[str, Any] = {"image_size": certificate.settings["image_size"], "versions": versions}
    for trial in certificate.trials:
        result[trial.precision] = _worst([stage for stage in trial.stages if _is_forward(stage)])
        if trained and trial.precision == "fp64":
            result["step"] = _worst([stage for stage in trial.stages if not _is_forward(stage)])
    return result


def network(model: Card) -> tuple[Any, ...]:
    """What decides the network that is measured: cards may differ in nothing but weights and usual size."""
    if model.family not in TIMM_FAMILIES:
        return (model.name,)
    recipe = model.preprocessing
    return model.family, model.config, model.feature_dim, model.norm_eps, recipe.mean, recipe.std, smallest(model)


def _worst(stages: Sequence[Stage]) -> dict[str, Any]:
    worst = max(stages, key=lambda stage: stage.error)
    return {"error": worst.error, "stage": worst.name, "passed": all(stage.passed for stage in stages)}


def _is_forward(stage: Stage) -> bool:
    return stage.name.startswith("block ") or stage.name in ("initial weights", "preprocessing", "features", "logits")


def table(results: dict[str, Any], models: Iterable[Card]) -> str:
    """Markdown: a row a model."""
    lines = [
        "| model | parameters | input | top-1 | forward fp64 | one step fp64 | forward fp32 | parity |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for model in models:
        found = results.get(model.name) or {}
        errors = [f"{found[kind]['error']:.0e}" if kind in found else "-" for kind in ("fp64", "step", "fp32")]
        best = model.weights[0].acc1 if model.weights else None
        accuracy = f"{best:.1f}" if best is not None else "-"
        cells = (f"{model.parameters:,}", str(model.preprocessing.size), accuracy, *errors, status(found))
        lines.append(f"| `{model.name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def status(found: dict[str, Any] | None) -> str:
    """What a model's results prove, in two words."""
    proofs = [found[kind]["passed"] for kind in ("fp64", "step", "fp32") if kind in found] if found else []
    if not proofs:
        return "not run"
    if not all(proofs):
        return "FAILS"
    return {1: "forward, fp32", 2: "forward", 3: "proved"}[len(proofs)]


def main(page: str, *names: str) -> None:
    """Measure what is missing, then write the table between the marks of a page."""
    results = parity_results()
    measured = set() if names else {name for name, found in results.items() if found}
    wanted: Sequence[Card] = [card(name) for name in names] or sorted(cards(), key=lambda c: c.parameters)
    for model in wanted:
        if names or not results.get(model.name):
            same = next((c for c in cards() if c.name in measured and network(c) == network(model)), None)
            results[model.name] = results[same.name] if same else measure(model)
            measured.add(model.name)
            ordered = {c.name: results[c.name] for c in cards() if c.name in results}
            STORE.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
            print(model.name, status(results[model.name]), flush=True)
    before, _, rest = Path(page).read_text("utf-8").partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- /table -->\n")
    Path(page).write_text(f"{before}<!-- table -->\n{table(results, cards())}<!-- /table -->\n{after}", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
