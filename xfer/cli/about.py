"""`xfer models` and `xfer backends`."""

from __future__ import annotations

import json as codec
import subprocess
import sys
from typing import Any

from xfer.cli.guard import guarded, print_json, show
from xfer.cli.options import Json
from xfer.runtime.environment import of_backend

NOTE = """
top-1: in percent, for each published set of weights, best first; by torchvision, of keras_* by Keras, of
efficientnet_lite* by its authors. parity: of both backends; docs/zoo.md has the numbers."""

_PUBLISHED = ("name", "acc1", "package", "url", "repo", "licence", "features_only")
_PROBE = """
import json, sys
from xfer.models.backend import get_backend
from xfer.errors import XferError
try:
    backend = get_backend(sys.argv[1])
    found = {"versions": backend.versions(), "devices": list(backend.devices()), "models": len(backend.architectures())}
except XferError as error:
    found = {"missing": str(error)}
print(json.dumps(found))
"""


@guarded
def models(json: Json = False) -> None:
    """List the architectures: size, published weights, and parity of the two backends."""
    from rich.table import Table

    from xfer.certify.zoo import parity_results, status
    from xfer.zoo import cards

    results, on_jax = parity_results(), parity_results("jax")
    rows = [
        {
            "name": card.name,
            "parameters": card.parameters,
            "image_size": card.preprocessing.size,
            "feature_dim": card.feature_dim,
            "blocks": list(card.block_names),
            "weights": [{field: getattr(entry, field) for field in _PUBLISHED} for entry in card.weights],
            "source": card.source,
            "parity": {"status": status(results.get(card.name)), **(results.get(card.name) or {})},
            "parity_jax": {"status": status(on_jax.get(card.name)), **(on_jax.get(card.name) or {})},
        }
        for card in cards()
    ]
    if json:
        print_json(rows)
        return
    table = Table("model", "parameters", "pixels", "features", "blocks", "ImageNet top-1", "parity", box=None)
    table.columns[0].no_wrap = True
    for card in cards():
        table.add_row(
            card.name,
            f"{card.parameters:,}",
            str(card.preprocessing.size),
            str(card.feature_dim),
            str(len(card.block_names)),
            ", ".join(f"{w.acc1:.1f}" for w in card.weights if w.acc1 is not None) or "-",
            status(results.get(card.name)),
        )
    show(table)
    print(NOTE)


@guarded
def backends(json: Json = False) -> None:
    """List the frameworks: versions and devices, or how to install them."""
    from rich.table import Table

    from xfer.models.backend import registered

    found = {name: _probe(name) for name in sorted(registered())}
    if json:
        print_json(found)
        return
    table = Table("backend", "versions", "devices", "models")
    for name, state in found.items():
        if "missing" in state:
            table.add_row(name, state["missing"], "-", "-")
        else:
            versions = ", ".join(f"{package} {version}" for package, version in state["versions"].items())
            table.add_row(name, versions, ", ".join(state["devices"]), str(state["models"]))
    show(table)


def _probe(name: str) -> dict[str, Any]:
    """What a backend says of itself, in a process of its own: frameworks never meet in one."""
    command = [sys.executable, "-P", "-c", _PROBE, name]
    done = subprocess.run(command, capture_output=True, text=True, env=of_backend(), check=False)
    try:
        return dict(codec.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        return {"missing": f"its process ended with exit code {done.returncode}"}
