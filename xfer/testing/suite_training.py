"""Training: frozen tensors stay, the freeze plan is followed, and the same seed gives the same run."""

from __future__ import annotations

import numpy as np
import pytest

import xfer
from xfer.errors import FrozenError
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.rates import block_rates
from xfer.testing.suite_base import CLASSES, Suite, assert_close, images, labels


class Training(Suite):
    """Frozen bytes, rates, dropout, determinism, state, and learning."""

    @pytest.mark.parametrize("patterns", [(), ("stem",), ("*bn*",), ("layer1.bn",)], ids=str)
    def test_frozen_is_bitwise_unchanged(self, patterns: tuple[str, ...]) -> None:
        model = self.model()
        model.freeze(*patterns)
        before, frozen = model.weights(), set(model.freezer.frozen())
        self.train(model, optimizer=OptimizerSpec("adamw", weight_decay=0.1))
        for name, array in model.weights().items():
            same = array.tobytes() == before[name].tobytes()
            assert same == (name in frozen), f"{name} {'did not change' if same else 'changed although frozen'}"
        assert model.freezer.verify() == len(frozen)

    def test_verify_sees_a_change(self) -> None:
        model = self.model()
        model.freeze()
        model.write({"bn1.running_var": np.full(8, 2, np.float32)})
        with pytest.raises(FrozenError, match=r"bn1\.running_var"):
            model.freezer.verify()

    def test_a_layer_may_be_frozen_in_part(self) -> None:
        model = self.model()
        model.freezer.restore(model.trainable - {"fc.bias"})
        bias, weight = model.weights()["fc.bias"], model.weights()["fc.weight"]
        self.train(model)
        assert model.weights()["fc.bias"].tobytes() == bias.tobytes()
        assert model.weights()["fc.weight"].tobytes() != weight.tobytes()

    def test_freezing_between_steps_is_obeyed(self) -> None:
        model = self.model()
        stepper = self.train(model)
        model.freeze("stem")
        before = model.weights()
        self.go_on(stepper, range(3, 5))
        after = model.weights()
        assert after["bn1.running_mean"].tobytes() == before["bn1.running_mean"].tobytes()
        assert after["conv1.weight"].tobytes() == before["conv1.weight"].tobytes()
        assert after["layer1.conv.weight"].tobytes() != before["layer1.conv.weight"].tobytes()

    @pytest.mark.parametrize("head", [xfer.Head(), xfer.Head((4,))], ids=["same names", "other names"])
    @pytest.mark.parametrize("optimizer", [OptimizerSpec("sgd"), OptimizerSpec("adam")], ids=["sgd", "adam"])
    def test_a_new_head_between_steps_is_trained(self, head: xfer.Head, optimizer: OptimizerSpec) -> None:
        """As by a stepper that has never seen the old one; the backbone keeps its slots."""
        model = self.model()
        stepper = self.train(model, optimizer=optimizer)
        backbone = {n: a for n, a in stepper.state().items() if "fc." not in n}
        model.replace_head(CLASSES, head)
        before = model.weights()
        state = stepper.state()
        assert {n: a.tobytes() for n, a in state.items() if "fc." not in n} == {
            n: a.tobytes() for n, a in backbone.items()
        }
        assert not any(array.any() for name, array in state.items() if "fc." in name)
        fresh = self.model(head=head)
        fresh.set_weights(before)
        other = self.stepper(fresh, optimizer)
        other.load_state(backbone)
        assert self.go_on(stepper, range(3, 5)) == self.go_on(other, range(3, 5))
        for name, array in model.weights().items():
            assert array.tobytes() == fresh.weights()[name].tobytes(), name
            assert array.tobytes() != before[name].tobytes(), name

    def test_rates_of_blocks_are_obeyed(self) -> None:
        """In plain SGD a change is proportional to its rate."""
        changes = {}
        for factor in (1.0, 0.5):
            model = self.model("fp64")
            before = model.weights()
            rates = block_rates({"head": 0.1, "layer1": 0.1 * factor, "stem": 0.1}, model.blocks)
            self.stepper(model).step(images(6), labels(6), rates)
            changes[factor] = {name: array - before[name] for name, array in model.weights().items()}
        np.testing.assert_allclose(
            changes[0.5]["layer1.conv.weight"], changes[1.0]["layer1.conv.weight"] / 2, rtol=1e-6
        )
        np.testing.assert_allclose(changes[0.5]["conv1.weight"], changes[1.0]["conv1.weight"], rtol=1e-9)

    def test_dropout_is_a_function_of_the_seed(self) -> None:
        model = self.model(head=xfer.Head((32,), dropout=0.5))
        model.freezer.restore(["fc.out.bias"])
        stepper = self.stepper(model)
        gradients = [stepper.gradients(images(6), labels(6), seed)["fc.out.bias"] for seed in (1, 1, 2)]
        assert gradients[0].tobytes() == gradients[1].tobytes()
        assert gradients[0].tobytes() != gradients[2].tobytes()

    def test_the_same_run_twice(self) -> None:
        runs = []
        for _ in range(2):
            model = self.model(head=xfer.Head((8,), 0.3, "batch"))
            self.train(model, optimizer=OptimizerSpec("adamw"))
            runs.append(model.weights())
        assert all(array.tobytes() == runs[1][name].tobytes() for name, array in runs[0].items())

    @pytest.mark.parametrize("l2_sp", [None, 0.5])
    @pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
    def test_state_moves_to_a_new_stepper(self, rule: str, l2_sp: float | None) -> None:
        """Two steps, everything moved by names, two more: the same as four."""
        spec = OptimizerSpec(rule)  # type: ignore[arg-type]
        whole = self.model()
        expected = self.train(whole, 4, rates=0.01, optimizer=spec, l2_sp=l2_sp).state()
        first = self.model()
        state = self.train(first, 2, rates=0.01, optimizer=spec, l2_sp=l2_sp).state()
        second = self.model()
        second.set_weights(first.weights())
        stepper = self.stepper(second, spec, l2_sp=l2_sp)
        stepper.load_state(state)
        assert all(array.tobytes() == state[name].tobytes() for name, array in stepper.state().items())
        self.go_on(stepper, range(2, 4), 0.01)
        assert all(a.tobytes() == whole.weights()[n].tobytes() for n, a in second.weights().items())
        assert all(a.tobytes() == expected[n].tobytes() for n, a in stepper.state().items())

    def test_sixteen_images_can_be_learnt_by_heart(self) -> None:
        x, y = images(16), labels(16)
        data = xfer.data.arrays(x, y, x, y, classes=CLASSES)
        model = self.model()
        trainer = xfer.Trainer(model, lr=0.03, batch_size=8, progress=False)
        trainer.fit(data, 60)
        assert model.evaluate(data).metrics["accuracy"] == 1.0
        assert trainer.history[-1]["loss"] < 0.1

    def test_a_moving_average(self) -> None:
        """Against one by hand over a plan that changes, and moved to another one in mid-run."""
        model, decay = self.model("fp64"), 0.7
        model.freeze("stem")
        stepper, average = self.stepper(model), self.engine.moving_average(model, decay)
        average.hold(model.live_names())
        expected = model.weights()
        for step in range(4):
            if step == 2:
                model.unfreeze()
                average.hold(model.live_names())
                average, held = self.engine.moving_average(model, decay), average.read()
                average.write(held)
            self.go_on(stepper, range(step, step + 1))
            average.update()
            expected = {name: decay * expected[name] + (1 - decay) * a for name, a in model.weights().items()}
        assert_close(average.read(), expected, 1e-12, "moving average")
