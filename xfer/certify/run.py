"""Two backends in two processes, run in lockstep and compared."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from xfer.certify.certificate import Certificate, Stage, Trial, compare
from xfer.certify.scenario import SCENARIOS, Scenario
from xfer.errors import UnknownNameError, UsageError, XferError
from xfer.models.lora import linear_weights
from xfer.runtime import environment
from xfer.runtime.progress import Report, note, step, work
from xfer.zoo import Card, card

BOUNDS: dict[str, dict[str, float | None]] = {
    # In float64 everything is held at every step. In float32 the logits are; training is shown as it drifts, because
    # each framework rounds in its own order, and training amplifies it.
    "fp64": {"forward": 1e-9, "blocks": 1e-9, "gradients": 1e-9, "training": 1e-9},
    "fp32": {"forward": 1e-5, "blocks": None, "gradients": None, "training": None},
}
CLASSES = 5

Arrays = dict[str, np.ndarray]


def parity(
    model: str,
    *,
    backends: Sequence[str] = ("torch", "tensorflow"),
    weights: str | None = None,
    steps: int = 20,
    optimizer: str | None = None,
    precisions: Sequence[str] = ("fp64", "fp32"),
    scenarios: Sequence[Scenario] = SCENARIOS,
    batch_size: int = 8,
    image_size: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Certificate:
    """Make the same runs on two backends, each in its own process on the CPU, and compare them stage by stage.

    Stages: weights before training (bitwise), normalised input (bitwise), every block's output, features and logits,
    the gradient of every trainable tensor, and after each step the loss, the weights, the normalisation statistics and
    the optimizer's slots; then logits on images that were not trained on, and the proof that what was frozen is.

    Args:
        model: an architecture.
        backends: two names, or `module:Class`.
        weights: as in `xfer.load`; None draws them, with lively normalisation.
        steps: updates of each scenario in float64; float32 makes the first scenario only.
        optimizer: only the scenarios of this update rule.
        precisions: "fp64" is the proof, "fp32" the practice.
        scenarios: what to train; see `SCENARIOS`. With none, the forward stages alone are compared.
        batch_size: images an update, at least 2.
        image_size: in pixels; by default 64, or the least that the model needs.
        seed: of weights and images.
        progress: called with a line now and then.

    Raises:
        UsageError: not two backends, or nothing to do. XferError: what a backend says.
    """
    if len(backends) != 2:
        raise UsageError(f"backends {', '.join(backends) or 'none'}: parity compares two, such as torch,tensorflow")
    if batch_size < 2 or steps < 1:
        raise UsageError(f"batch_size={batch_size}, steps={steps}: give at least 2 images and 1 step")
    unknown = [p for p in precisions if p not in BOUNDS]
    if unknown:
        raise UnknownNameError("precision", unknown[0], BOUNDS)
    chosen = [s for s in scenarios if optimizer in (None, s.optimizer.name)]
    if scenarios and not chosen:
        raise UnknownNameError("optimizer", optimizer, {s.optimizer.name for s in scenarios})
    say = progress or (lambda line: None)
    size = image_size or smallest(card(model))
    settings = {"classes": CLASSES, "batch": batch_size, "seed": seed}
    trials = []
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(name, settings)) for name in backends]
        pair, plan = _Pair(workers), {p: chosen if p == "fp64" else chosen[:1] for p in precisions}
        report = stack.enter_context(work("comparing updates", steps * sum(map(len, plan.values())), "updates"))
        for precision in precisions:
            bounds = BOUNDS[precision]
            with step(f"building {model} in {precision} on both"):
                ours, theirs = pair.ask("build", model=model, weights=weights, precision=precision, image_size=size)
            first = [compare("initial weights", ours, theirs, 0.0)]
            first += _forward(*pair.ask("outputs"), card(model).block_names, bounds)
            if not chosen:
                trials.append(Trial("forward", precision, tuple(first)))
            shapes = {name: array.shape for name, array in ours.items()}
            for i, scenario in enumerate(plan[precision]):
                if scenario.lora is not None and not linear_weights(shapes, card(model)):
                    report.advance(steps)
                    continue
                say(f"{precision}: {scenario.name}")
                note(f"{precision}: {scenario.name}")
                stages = [*(first if i == 0 else []), *_train(pair, scenario, steps, bounds, report)]
                trials.append(Trial(scenario.name, precision, tuple(stages)))
    return Certificate(
        model=model,
        backends=(backends[0], backends[1]),
        versions={worker.backend: worker.versions for worker in workers},
        settings={"weights": weights, "steps": steps, "image_size": size, **settings},
        trials=tuple(trials),
    )


def smallest(card: Card) -> int:
    """A small input size at which the whole network is there, auxiliary classifiers too."""
    multiple = card.size_multiple
    size = -(-min(64, card.preprocessing.size) // multiple) * multiple
    return max(size, card.size_smallest, *(branch.smallest for branch in card.auxiliary))


def _forward(ours: Arrays, theirs: Arrays, blocks: Sequence[str], bounds: dict[str, float | None]) -> list[Stage]:
    """One stage a block, in forward order, so that the first that fails is the first that parts."""
    stages = [compare("preprocessing", {"input": ours["input"]}, {"input": theirs["input"]}, 0.0)]
    for block in blocks[:-1]:
        stages.append(compare(f"block {block}", {block: ours[block]}, {block: theirs[block]}, bounds["blocks"]))
    for name, label in (("features", "features"), ("head", "logits")):
        stages.append(compare(label, {name: ours[name]}, {name: theirs[name]}, bounds["forward"]))
    return stages


def _train(
    pair: _Pair, scenario: Scenario, steps: int, bounds: dict[str, float | None], report: Report
) -> Iterator[Stage]:
    ours, theirs = pair.ask("begin", scenario=asdict(scenario), steps=steps)
    yield compare("gradients", ours, theirs, bounds["gradients"])
    for number in range(steps):
        ours, theirs = pair.ask("step", number=number)
        for kind in ("loss", "statistics", "weights", "slots"):
            a, b = (_part(arrays, kind) for arrays in (ours, theirs))
            if a or b:
                yield compare(f"step {number + 1}: {kind}", a, b, bounds["training"])
        report.advance()
    yield compare("evaluation", *pair.ask("evaluate"), bounds["training"])


def _part(arrays: Arrays, kind: str) -> Arrays:
    prefixes = {"loss": "loss", "statistics": "statistic/", "weights": "weight/"}
    if kind in prefixes:
        return {name: array for name, array in arrays.items() if name.startswith(prefixes[kind])}
    return {name: array for name, array in arrays.items() if not name.startswith(tuple(prefixes.values()))}


class _Worker:
    """A backend in a process of its own, which answers requests with arrays."""

    def __init__(self, backend: str, folder: str, settings: dict[str, int]) -> None:
        command = [sys.executable, "-P", "-m", "xfer.certify.worker", backend, folder, json.dumps(settings)]
        self.backend = backend
        self.versions: dict[str, str] = {}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment.of_backend())

    def ask(self, request: dict[str, Any]) -> Arrays:
        """Send a request and wait for its arrays.

        Raises:
            XferError: the backend's own line, or how its process ended.
        """
        from safetensors.numpy import load_file

        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise XferError(f"{self.backend}: its process ended with exit code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise XferError(f"{self.backend}: {answer['error']}")
        self.versions = answer["versions"]
        arrays = load_file(answer["file"])
        Path(answer["file"]).unlink()
        return dict(arrays)


class _Pair:
    """The two workers, asked the same at the same time."""

    def __init__(self, workers: Sequence[_Worker]) -> None:
        self._workers = workers

    def ask(self, do: str, **request: Any) -> tuple[Arrays, Arrays]:
        """What both answer."""
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda worker: worker.ask({"do": do, **request}), self._workers)
        return first, second


@contextmanager
def _worker(backend: str, settings: dict[str, int]) -> Iterator[_Worker]:
    with tempfile.TemporaryDirectory(prefix="xfer-parity-") as folder:
        worker = _Worker(backend, folder, settings)
        try:
            yield worker
        finally:
            worker.process.kill()
            worker.process.communicate()
