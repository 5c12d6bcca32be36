"""The same mathematics as the NumPy reference, in float64 to 1e-9."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

import xfer
from xfer.errors import UnknownNameError, UsageError
from xfer.specs.head import Head
from xfer.specs.inputs import Inputs
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.rates import Rates
from xfer.specs.tasks import Task, losses
from xfer.testing.suite_base import Suite, assert_close, images, labels

EXACT = 1e-9
RULES = [
    OptimizerSpec("sgd", momentum=0.0),
    OptimizerSpec("sgd", momentum=0.9, weight_decay=0.1),
    OptimizerSpec("sgd", momentum=0.9, nesterov=True),
    OptimizerSpec("adam"),
    OptimizerSpec("adam", weight_decay=0.1, eps=1e-3),
    OptimizerSpec("adamw", weight_decay=0.1, betas=(0.8, 0.9)),
]


LOSSES = (
    LossSpec(focal=2.0),
    LossSpec(focal=0.5, class_weights=(1.0, 3.0, 0.25)),
    LossSpec(adjustment=(-0.3, 0.0, -2.0), label_smoothing=0.1),
    LossSpec(focal=2.0, adjustment=(-0.3, 0.0, -2.0), class_weights=(0.0, 1.0, 2.0)),
    LossSpec(label_smoothing=0.2, class_weights=(1.0, 3.0, 0.25)),
)


SOFT = (
    LossSpec(),
    LossSpec(label_smoothing=0.1, class_weights=(1.0, 3.0, 0.25)),
    LossSpec(focal=2.0, adjustment=(-0.3, 0.0, -2.0)),
)
TASKS = (
    Task("colour", classes=("red", "green"), head=Head((4,)), weight=0.5, loss=LossSpec(class_weights=(1.0, 3.0))),
    Task("tags", "multi-label", ("wet", "old", "big"), weight=2.0),
    Task("size", "regression", ("width", "height")),
)


def soft_loss_by_hand(spec: LossSpec, logits: np.ndarray, shares: np.ndarray) -> float:
    """The same for soft labels."""
    total, rows = 0.0, 0
    for row, share in zip(logits, shares, strict=True):
        if np.isnan(share).any():
            continue
        z = [float(v) + a for v, a in zip(row, spec.adjustment or (0.0,) * len(row), strict=True)]
        log_sum = math.log(sum(math.exp(v) for v in z))
        for k, v in enumerate(z):
            t = (1 - spec.label_smoothing) * share[k] + spec.label_smoothing / len(z)
            w = spec.class_weights[k] if spec.class_weights else 1.0
            total += w * t * (1 - math.exp(v - log_sum)) ** spec.focal * -(v - log_sum)
        rows += 1
    return total / rows if rows else 0.0


def tasks_loss_by_hand(tasks: Sequence[Task], logits: np.ndarray, targets: np.ndarray) -> float:
    """The loss of several tasks, entry by entry."""
    total, at, column = 0.0, 0, 0
    for task in tasks:
        k = len(task.classes)
        z, y = logits[:, at : at + k], targets[:, column : column + task.term.columns]
        at, column = at + k, column + task.term.columns
        if task.kind == "single-label":
            total += task.weight * loss_by_hand(task.loss, z, np.where(np.isnan(y[:, 0]), -1, y[:, 0]).astype(int))
            continue
        terms = []
        for u, v in zip(z.ravel().tolist(), y.ravel().tolist(), strict=True):
            if task.kind == "multi-label" and not math.isnan(v):
                p = 1 / (1 + math.exp(-u))
                terms.append(-v * math.log(p) - (1 - v) * math.log(1 - p))
            elif not math.isnan(v):
                terms.append((u - v) ** 2)
        total += task.weight * (sum(terms) / len(terms) if terms else 0.0)
    return total


def loss_by_hand(spec: LossSpec, logits: np.ndarray, labels: np.ndarray) -> float:
    """The formulas of `LossSpec` in loops."""
    total, norm = 0.0, 0.0
    for row, label in zip(logits, labels, strict=True):
        if label < 0:
            continue
        z = [float(v) + a for v, a in zip(row, spec.adjustment or (0.0,) * len(row), strict=True)]
        w = spec.class_weights or (1.0,) * len(row)
        log_sum = math.log(sum(math.exp(v) for v in z))
        log_p = [v - log_sum for v in z]
        s = spec.label_smoothing
        total += (1 - s) * w[label] * (1 - math.exp(log_p[label])) ** spec.focal * -log_p[label]
        total += s / len(row) * sum(w[k] * -log_p[k] for k in range(len(row)))
        norm += w[label]
    return total / norm if norm else 0.0


class Numerics(Suite):
    """Outputs, losses, gradients and updates."""

    def test_block_outputs(self) -> None:
        ours, reference = self.pair()
        pixels = [model.outputs(images(4), ["input"])["input"] for model in (ours, reference)]
        assert pixels[0].tobytes() == pixels[1].tobytes(), "the normalised input differs"
        assert_close(ours.block_outputs(images(4)), reference.block_outputs(images(4)), EXACT, "float64")
        single = self.model("fp32")
        single.set_weights({name: array.astype(np.float32) for name, array in reference.weights().items()})
        assert_close(single.block_outputs(images(4)), reference.block_outputs(images(4)), 1e-5, "float32")

    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    @pytest.mark.parametrize("weights", [None, (1.0, 3.0, 0.25)], ids=["equal", "weighted"])
    def test_loss_by_hand(self, smoothing: float, weights: tuple[float, ...] | None) -> None:
        """The formula of `LossSpec`, written out in loops, against the loss of a step."""
        model = self.pair()[0]
        model.freeze()
        z, y = model.logits(images(5)), labels(5)
        w, total, norm = weights or (1.0, 1.0, 1.0), 0.0, 0.0
        for row, label in zip(z, y, strict=True):
            log_p = [float(v - np.log(sum(np.exp(u) for u in row))) for v in row]
            total += (1 - smoothing) * w[label] * -log_p[label]
            total += smoothing / 3 * sum(w[k] * -log_p[k] for k in range(3))
            norm += w[label]
        stepper = self.stepper(model, loss=LossSpec(smoothing, weights))
        loss = float(stepper.step(images(5), y, dict.fromkeys(model.blocks, 0.1)))
        assert loss == pytest.approx(total / norm, rel=EXACT)

    @pytest.mark.parametrize("spec", LOSSES, ids=lambda s: f"{s.focal}-{s.adjustment}-{s.class_weights}")
    @pytest.mark.parametrize("missing", [(), (0, 3), tuple(range(6))], ids=["all labels", "some", "none"])
    def test_losses_by_hand(self, spec: LossSpec, missing: tuple[int, ...]) -> None:
        """Focal, adjusted and masked losses in loops over Python floats, and their gradients by finite differences."""
        model = self.pair()[0]
        model.freeze()
        y = labels(6)
        y[list(missing)] = -1
        stepper = self.stepper(model, loss=spec)
        gradients = stepper.gradients(images(6), y)
        bias = model.weights()["fc.bias"]

        def by_hand(shift: np.ndarray) -> float:
            return loss_by_hand(spec, model_logits + (shift - bias), y)

        model_logits = model.logits(images(6)).astype(np.float64)
        for k in range(len(bias)):
            step = np.eye(len(bias))[k] * 1e-6
            slope = (by_hand(bias + step) - by_hand(bias - step)) / 2e-6
            assert float(gradients["fc.bias"][k]) == pytest.approx(slope, rel=1e-6, abs=1e-9)
        loss = float(stepper.step(images(6), y, dict.fromkeys(model.blocks, 0.0)))
        assert loss == pytest.approx(by_hand(bias), rel=EXACT, abs=1e-15)

    @pytest.mark.parametrize("spec", LOSSES, ids=lambda s: f"{s.focal}-{s.adjustment}-{s.class_weights}")
    def test_gradients_of_losses(self, spec: LossSpec) -> None:
        """All tensors, some labels missing, against the reference; rows without a label change nothing."""
        ours, reference = self.pair()
        y = labels(6)
        y[[1, 4]] = -1
        found = self.stepper(ours, loss=spec).gradients(images(6), y)
        expected = self.stepper(reference, loss=spec).gradients(images(6), y)
        assert_close(found, expected, EXACT, "gradient")

    @pytest.mark.parametrize("spec", SOFT, ids=lambda s: f"{s.focal}-{s.label_smoothing}")
    def test_soft_labels(self, spec: LossSpec) -> None:
        """Shares of classes, one row without: the loss by hand, and all gradients against the reference."""
        ours, reference = self.pair()
        shares = np.random.default_rng(3).dirichlet(np.ones(3), 6)
        shares[2] = np.nan
        mine = self.stepper(ours, loss=spec)
        found = mine.gradients(images(6), shares)
        assert_close(found, self.stepper(reference, loss=spec).gradients(images(6), shares), EXACT, "gradient")
        ours.freeze()
        loss = float(mine.step(images(6), shares, dict.fromkeys(ours.blocks, 0.0)))
        assert loss == pytest.approx(soft_loss_by_hand(spec, ours.logits(images(6)), shares), rel=EXACT)

    def test_soft_labels_that_are_hard(self) -> None:
        """One-hot shares are labels."""
        model = self.pair()[0]
        stepper = self.stepper(model, loss=LossSpec(0.1, focal=0.0))
        hard = stepper.gradients(images(6), labels(6))
        assert_close(stepper.gradients(images(6), np.eye(3)[labels(6)]), hard, EXACT, "gradient")

    @pytest.mark.parametrize("missing", [0.0, 0.4, 1.0])
    def test_several_tasks(self, missing: float) -> None:
        """A head each; the loss by hand; gradients, updates and slots against the reference."""
        ours, reference = self.pair(classes=None, tasks=TASKS)
        rng = np.random.default_rng(5)
        targets = np.column_stack(
            [rng.integers(0, 2, 6), rng.integers(0, 2, (6, 3)), rng.standard_normal((6, 2))]
        ).astype(np.float64)
        targets[rng.random(targets.shape) < missing] = np.nan
        rule = OptimizerSpec("adam")
        mine, theirs = (self.stepper(m, optimizer=rule, loss=losses(TASKS)) for m in (ours, reference))
        assert_close(mine.gradients(images(6), targets), theirs.gradients(images(6), targets), EXACT, "gradient")
        ours.freeze()
        expected = tasks_loss_by_hand(TASKS, ours.logits(images(6)), targets)
        loss = float(mine.step(images(6), targets, dict.fromkeys(ours.blocks, 0.0)))
        assert loss == pytest.approx(expected, rel=EXACT, abs=1e-15)
        ours.unfreeze()
        for _ in range(3):
            mine.step(images(6), targets, dict.fromkeys(ours.blocks, 0.01))

    def test_a_missing_target_is_as_if_the_task_had_not_been_asked(self) -> None:
        """Rows with all targets have the gradients that they have alone, whatever else is in the batch is missing."""
        model = self.pair(classes=None, tasks=TASKS[1:])[0]
        model.freeze()
        stepper = self.stepper(model, loss=losses(TASKS[1:]))
        rng = np.random.default_rng(5)
        targets = np.hstack([rng.integers(0, 2, (6, 3)), rng.standard_normal((6, 2))]).astype(np.float64)
        targets[3:] = np.nan
        found = stepper.gradients(images(6), targets)
        assert_close(found, stepper.gradients(images(6)[:3], targets[:3]), EXACT, "gradient")

    @pytest.mark.parametrize("after", ["stem", "layer1", "features"])
    def test_a_run_that_begins_after_a_block(self, after: str) -> None:
        """On a block's outputs, the same logits and updates as on images, and the frozen part is not run."""
        whole, tail = self.pair()[0], self.pair()[0]
        for model in (whole, tail):
            model.freeze()
            model.unfreeze(last={"stem": 1, "layer1": 0, "features": 0}[after])
        kept = tail.outputs(images(6), [after])[after]
        beginning = Inputs(kept, after)
        assert_close({"z": tail.logits(beginning)}, {"z": whole.logits(images(6))}, EXACT, "logits")
        rates, rule = dict.fromkeys(whole.blocks, 0.01), OptimizerSpec("sgd")
        a, b = self.stepper(whole, optimizer=rule), self.stepper(tail, optimizer=rule)
        for _ in range(3):
            one = float(a.step(images(6), labels(6), rates))
            assert float(b.step(beginning, labels(6), rates)) == pytest.approx(one, rel=EXACT)
        assert_close(tail.weights(), whole.weights(), EXACT, "weights")
        tail.unfreeze()
        with pytest.raises(UsageError, match="is trainable, but the inputs are outputs of"):
            b.step(beginning, labels(6), rates)
        with pytest.raises(UnknownNameError):
            tail.outputs(beginning, ["input"])

    def test_columns_beside_the_image(self) -> None:
        """They are what the head reads behind the features."""
        ours, reference = self.pair(columns=2)
        columns = np.random.default_rng(1).standard_normal((6, 2))
        inputs = Inputs(images(6), columns=columns)
        features = ours.outputs(inputs, ["features"])["features"]
        weights = ours.weights()
        expected = np.hstack([features, columns]) @ weights["fc.weight"].T + weights["fc.bias"]
        assert_close({"z": ours.logits(inputs)}, {"z": expected}, EXACT, "logits")
        assert_close({"z": ours.logits(Inputs(features, "features", columns))}, {"z": expected}, EXACT, "logits")
        found = self.stepper(ours).gradients(inputs, labels(6))
        assert_close(found, self.stepper(reference).gradients(inputs, labels(6)), EXACT, "gradient")
        assert ours.logits(Inputs(images(0), columns=columns[:0])).shape == (0, 3)
        with pytest.raises(UsageError, match="was given no columns"):
            ours.logits(images(6))

    @pytest.mark.parametrize("frozen", [(), ("stem",), ("*bn*",), ("layer1", "fc")], ids=str)
    def test_gradients(self, frozen: tuple[str, ...]) -> None:
        ours, reference = self.pair()
        for model in (ours, reference):
            if frozen:
                model.freeze(*frozen)
        loss = LossSpec(0.1, (1.0, 2.0, 0.5))
        before = ours.weights()
        found = self.stepper(ours, loss=loss).gradients(images(6), labels(6))
        expected = self.stepper(reference, loss=loss).gradients(images(6), labels(6))
        assert set(found) == ours.trainable
        assert_close(found, expected, EXACT, "gradient")
        assert all(a.tobytes() == before[n].tobytes() for n, a in ours.weights().items()), (
            "gradients() changed a tensor"
        )

    @pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.name}-{r.momentum}-{r.nesterov}-{r.decay}")
    @pytest.mark.parametrize("rates", [0.05, {"head": 0.1, "layer1": 0.01, "stem": 0.001}], ids=["one rate", "rates"])
    def test_updates(self, rule: OptimizerSpec, rates: Rates) -> None:
        """Weights, statistics and slots after each of four steps, clipped and smoothed."""
        ours, reference = self.pair()
        settings = {"optimizer": rule, "loss": LossSpec(0.1), "clip_norm": 0.3}
        mine, theirs = self.stepper(ours, **settings), self.stepper(reference, **settings)  # type: ignore[arg-type]
        for step in range(4):
            a, b = self.go_on(mine, range(step, step + 1), rates), self.go_on(theirs, range(step, step + 1), rates)
            assert a[0] == pytest.approx(b[0], rel=EXACT), f"loss of step {step}"
            assert_close(ours.weights(), reference.weights(), EXACT, f"after step {step}")
            assert_close(mine.state(), theirs.state(), EXACT, f"slots after step {step}")

    @pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.name}-{r.momentum}-{r.nesterov}-{r.decay}")
    def test_l2_sp_over_changes_of_the_plan(self, rule: OptimizerSpec) -> None:
        """A block that is frozen and trained again decays towards its first weights."""
        ours, reference = self.pair()
        steppers = [self.stepper(model, rule, clip_norm=0.3, l2_sp=0.5) for model in (ours, reference)]
        for step, frozen in enumerate(((), (), ("layer1",), (), ())):
            for stepper in steppers:
                stepper.model.unfreeze()
                if frozen:
                    stepper.model.freeze(*frozen)
                self.go_on(stepper, range(step, step + 1), 0.05)
            assert_close(ours.weights(), reference.weights(), EXACT, f"after step {step}")
            assert_close(steppers[0].state(), steppers[1].state(), EXACT, f"slots after step {step}")

    def test_l2_sp_is_the_gradient_of_its_penalty(self) -> None:
        """0.4 / 2 |w - w0|^2 for all parameters below the head, and the weight decay for the head."""
        model, rate = self.model("fp64"), 0.1
        stepper = self.stepper(model, OptimizerSpec("sgd", momentum=0.0, weight_decay=0.3), l2_sp=0.4)
        before = [model.weights()]
        for step in range(3):
            gradients = stepper.gradients(images(6, seed=step), labels(6))
            self.go_on(stepper, range(step, step + 1), rate)
            now, first, after = before[-1], before[0], model.weights()
            for name, gradient in gradients.items():
                pull = 0.3 * now[name] if name.startswith("fc.") else 0.4 * (now[name] - first[name])
                np.testing.assert_allclose(after[name], now[name] - rate * (gradient + pull), rtol=EXACT, atol=1e-12)
            before.append(after)

    @pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
    def test_l2_sp_towards_zero_is_weight_decay(self, rule: str) -> None:
        plain, pulled = self.model("fp64"), self.model("fp64")
        spec = OptimizerSpec(rule, weight_decay=0.4)  # type: ignore[arg-type]
        stepper = self.stepper(pulled, spec, l2_sp=0.4)
        below = [name for name in pulled.parameters if not name.startswith("fc.")]
        stepper.load_state({f"start/{name}": np.zeros(pulled.shapes()[name]) for name in below})
        self.go_on(stepper, range(3), 0.05)
        self.train(plain, rates=0.05, optimizer=spec)
        assert_close(pulled.weights(), plain.weights(), EXACT, rule)

    def test_updates_of_mlp_heads(self) -> None:
        """By SGD: a bias below batch norm has no gradient but rounding, which Adam would blow up."""
        for norm in (None, "batch", "layer"):
            ours, reference = self.pair(head=xfer.Head((5, 4), norm=norm))  # type: ignore[arg-type]
            self.train(ours, rates=0.05)
            self.train(reference, rates=0.05)
            assert_close(ours.weights(), reference.weights(), EXACT, f"head with norm {norm}")

    def test_an_unfreeze_in_mid_run(self) -> None:
        """What stays trainable keeps its slots, what joins starts with none and counts its own steps."""
        ours, reference = self.pair()
        steppers = []
        for model in (ours, reference):
            model.freeze()
            stepper = self.train(model, 2, rates=0.01, optimizer=OptimizerSpec("adam"))
            model.unfreeze(last=1)
            self.go_on(stepper, range(2, 5), 0.01)
            steppers.append(stepper)
        assert_close(ours.weights(), reference.weights(), EXACT, "after the unfreeze")
        assert_close(steppers[0].state(), steppers[1].state(), EXACT, "slots")
        state = steppers[0].state()
        assert (int(state["step/fc.weight"]), int(state["step/layer1.conv.weight"])) == (5, 3)
