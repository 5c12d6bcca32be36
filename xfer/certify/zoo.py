"""Every model of the zoo on two backends, as a table: `python -m xfer.certify.zoo docs/zoo.md [MODEL ...]`.

For each model: all forward stages in float64 and float32, and in float64 one step of SGD with momentum and clipping
with everything trainable: gradients, loss, weights, statistics and slots. Cards that are one network with other weights
are measured once. What a machine with 24 GB of memory can't hold is left out, and the table says so. Results are kept
in `xfer/zoo/parity.json`, model by model; those that are there are not made again unless they are named, so that an
interrupted run goes on. PyTorch is compared with TensorFlow, and with JAX where `--backend jax` is given, whose results
are in `parity_jax.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import xfer.zoo
from xfer.certify.certificate import Stage
from xfer.certify.run import parity, smallest
from xfer.certify.scenario import SCENARIOS
from xfer.runtime.files import write_atomically
from xfer.zoo import Card, card, cards
from xfer.zoo.published import TIMM_FAMILIES

# Parameters up to which a step, the forward pass in float64, and that in float32 fit twice into 24 GB of memory and all
# of the zoo into two hours.
TRAINED, PROVED, RUN = 50_000_000, 120_000_000, 350_000_000
COLUMNS = (
    *("model", "parameters", "input", "top-1"),
    *("forward fp64", "one step fp64", "forward fp32", "parity", "JAX fp64", "JAX"),
)
STORES = {
    backend: Path(xfer.zoo.__file__).with_name(name)
    for backend, name in (("tensorflow", "parity.json"), ("jax", "parity_jax.json"))
}


def parity_results(backend: str = "tensorflow") -> dict[str, Any]:
    """What was measured on torch and `backend`, "tensorflow" or "jax", by model.

    Worst errors of "fp64" and "fp32" forward stages and of one "step" in float64; None for what is too large.
    """
    store = STORES[backend]
    return dict(json.loads(store.read_text("utf-8"))) if store.exists() else {}


def measure(model: Card, backend: str) -> dict[str, Any] | None:
    """The worst errors of a model's certificate, None where it is too large."""
    if model.parameters > RUN:
        return None
    trained, proved = model.parameters <= TRAINED, model.parameters <= PROVED
    certificate = parity(
        model.name,
        backends=("torch", backend),
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


def table(models: Iterable[Card]) -> str:
    """Markdown: a row a model."""
    results, on_jax = parity_results(), parity_results("jax")
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---|---:|---:|---:|---:|---:|---:|---|---:|---|",
    ]
    for model in models:
        found, jax = results.get(model.name) or {}, on_jax.get(model.name) or {}
        errors = [f"{found[kind]['error']:.0e}" if kind in found else "-" for kind in ("fp64", "step", "fp32")]
        best = model.weights[0].acc1 if model.weights else None
        accuracy = f"{best:.1f}" if best is not None else "-"
        worst = max((jax[kind]["error"] for kind in ("fp64", "step") if kind in jax), default=None)
        cells = (f"{model.parameters:,}", str(model.preprocessing.size), accuracy, *errors, status(found))
        beside = ("-" if worst is None else f"{worst:.0e}", status(jax))
        lines.append(f"| `{model.name}` | {' | '.join((*cells, *beside))} |")
    return "\n".join(lines) + "\n"


def status(found: dict[str, Any] | None) -> str:
    """What a model's results prove, in two words."""
    proofs = [found[kind]["passed"] for kind in ("fp64", "step", "fp32") if kind in found] if found else []
    if not proofs:
        return "not run"
    if not all(proofs):
        return "FAILS"
    return {1: "forward, fp32", 2: "forward", 3: "proved"}[len(proofs)]


def main(arguments: Sequence[str]) -> None:
    """Measure what is missing, and write the table between the marks of a page after each."""
    parser = argparse.ArgumentParser(prog="python -m xfer.certify.zoo")
    parser.add_argument("--backend", choices=list(STORES), default="tensorflow", help="what torch is compared with")
    parser.add_argument("page", type=Path, help="the table is written between the marks of this file")
    parser.add_argument("models", nargs="*", help="measured anew; by default what is missing, the smallest first")
    given = parser.parse_args(arguments)
    names, backend = list(given.models), str(given.backend)
    results = parity_results(backend)
    measured = set() if names else {name for name, found in results.items() if found}
    wanted: Sequence[Card] = [card(name) for name in names] or sorted(cards(), key=lambda c: c.parameters)
    for model in wanted:
        if names or not results.get(model.name):
            same = next((c for c in cards() if c.name in measured and network(c) == network(model)), None)
            results[model.name] = results[same.name] if same else measure(model, backend)
            measured.add(model.name)
            ordered = {c.name: results[c.name] for c in cards() if c.name in results}
            write_atomically(STORES[backend], (json.dumps(ordered, indent=1) + "\n").encode())
            _fill(given.page)
            print(model.name, status(results[model.name]), flush=True)
    _fill(given.page)


def _fill(page: Path) -> None:
    """Write the table as it is now."""
    before, _, rest = page.read_text("utf-8").partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- /table -->\n")
    write_atomically(page, f"{before}<!-- table -->\n{table(cards())}<!-- /table -->\n{after}".encode())


if __name__ == "__main__":
    main(sys.argv[1:])
