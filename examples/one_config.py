"""One `xfer.toml` on two frameworks, each in a process of its own: only `backend` changes.

usage: python examples/one_config.py [torch tensorflow]
"""

import json
import subprocess
import sys
from pathlib import Path


def main(*backends: str, out: str = "runs", options: tuple[str, ...] = ()) -> dict[str, dict]:
    metrics = {}
    for backend in backends or ("torch", "tensorflow"):
        config = Path(__file__).with_name("xfer.toml")
        run = Path(out, backend)
        command = ["xfer", "train", "--config", str(config), "--backend", backend, "--out", str(run), *options]
        subprocess.run([sys.executable, "-m", *command], check=True)
        metrics[backend] = json.loads((run / "metrics.json").read_text())["val"]
        print(backend, metrics[backend])
    return metrics


if __name__ == "__main__":
    main(*sys.argv[1:])
