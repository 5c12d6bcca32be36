"""Every export of a run of each backend, compared with its model: `python benchmarks/exports.py DATA [MODEL ...]`.

For each architecture and backend a new head is trained on DATA, and the run is written in every format, in LiteRT also
with 16 and 8 bits. Each file is opened by its own runtime and compared with the model on all validation images, as
`xfer export` does; then the two ONNX files of the same run are compared with each other. Rows that `--json` has already
are not made again. Times are of one image, the file's and the model's one after the other on the same machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, table

MODELS = ("mobilenet_v3_small", "efficientnet_lite0", "resnet18", "swin_t", "vit_b_32")
BACKENDS = ("torch", "tensorflow")
FORMATS = (
    *(("torchvision", "float32"), ("torch-export", "float32"), ("onnx", "float32"), ("saved-model", "float32")),
    *(("keras", "float32"), ("litert", "float32"), ("litert", "float16"), ("litert", "int8")),
)


def xfer(*arguments: Any) -> subprocess.CompletedProcess[str]:
    """A command of xfer in a process of its own."""
    command = [sys.executable, "-m", "xfer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def row_of(run: Path, out: Path, format: str, precision: str) -> dict[str, Any]:
    """One export, or why there is none."""
    done = xfer("export", run, "--to", format, "--precision", precision, "--out", out, "--json")
    if done.returncode:
        return {"refused": done.stderr.strip().splitlines()[-1].removeprefix("error: ")}
    return dict(json.loads(done.stdout))


def both(run: Path, folder: Path) -> dict[str, Any]:
    """The greatest difference between the ONNX files that the two backends write of one run."""
    import onnxruntime

    found = []
    for backend in BACKENDS:
        path = folder / f"both-{backend}.onnx"
        if (
            not path.exists()
            and (done := xfer("export", run, "--to", "onnx", "--backend", backend, "--out", path)).returncode
        ):
            return {"refused": done.stderr.strip().splitlines()[-1]}
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        size = session.get_inputs()[0].shape[1]
        rough = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3))
        images = np.kron(rough, np.ones((1, size // 8, size // 8, 1))).astype(np.uint8)
        found.append(session.run(None, {"image": images})[0])
    return {"greatest_difference": float(np.abs(found[0] - found[1]).max())}


def measure(
    data: str, models: list[str], backends: list[str], known: dict[str, Any], options: list[str]
) -> Iterator[dict[str, Any]]:
    """Results by "model backend format precision", growing."""
    for model in models:
        for backend in backends:
            with tempfile.TemporaryDirectory() as folder:
                run, out = Path(folder) / "run", Path(folder) / "files"
                wanted = [f"{model} {backend} {format} {precision}" for format, precision in FORMATS]
                if all(name in known for name in (*wanted, f"{model} {backend} both")):
                    continue
                weights = "imagenet" if model.startswith("efficientnet_lite") else "none"
                train = ("train", data, "--model", model, "--weights", weights, "--backend", backend, "--epochs", 5)
                if (done := xfer(*train, "--out", run, *options)).returncode:
                    raise SystemExit(done.stderr)
                for name, (format, precision) in zip(wanted, FORMATS, strict=True):
                    if name not in known:
                        known[name] = row_of(run, out / f"{format}-{precision}", format, precision)
                        yield known
                known[f"{model} {backend} both"] = both(run, out)
                yield known


def shown(results: dict[str, Any]) -> str:
    """A table of all exports, a line for each model and format; of two figures the first is of torch's run."""
    rows = []
    for model in dict.fromkeys(name.split()[0] for name in results):
        for format, precision in FORMATS:
            both = [results.get(f"{model} {backend} {format} {precision}") for backend in BACKENDS]
            found = [entry for entry in both if entry is not None and "check" in entry]
            if not any(both):
                continue
            row = {"model": model, "format": format if precision == "float32" else f"{format} {precision}"}
            checks = [entry["check"] for entry in found]
            rows.append(
                row
                | {
                    "MB": " / ".join(dict.fromkeys(f"{entry['bytes'] / 1e6:.1f}" for entry in found)) or "refused",
                    "difference": " / ".join(f"{check['greatest_difference']:.0e}" for check in checks),
                    "same class": " / ".join(f"{check['equal_classes']}" for check in checks),
                    "ms": " / ".join(f"{check['milliseconds']:.1f}" for check in checks),
                    "ms in the model": " / ".join(f"{check['model_milliseconds']:.1f}" for check in checks),
                }
            )
    return table(rows) if rows else ""


def main() -> None:
    """Measure what is missing, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="a folder of images")
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--image-size", default=None)
    parser.add_argument("--json", type=Path, default=Path("exports.json"))
    given = parser.parse_args()
    before = json.loads(given.json.read_text("utf-8"))["results"] if given.json.exists() else {}
    options = ["--image-size", given.image_size] if given.image_size else []
    results = before
    for results in measure(given.data, list(given.models), given.backends.split(","), before, options):
        given.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", "utf-8")
        print(list(results)[-1], json.dumps(list(results.values())[-1])[:200], flush=True)
    print(shown(results))
    for name, found in results.items():
        if name.endswith(" both"):
            print(f"ONNX of both backends, {name.removesuffix(' both')}: {found}")


if __name__ == "__main__":
    main()
