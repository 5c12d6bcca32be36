"""What `xfer.wrap` promises of any network, on random small ones.

`backend`, `build` and `state` are given by a subclass. XFER_EXAMPLES=5000 makes as many networks.
"""

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import xfer

SIZE, CLASSES = 8, ("a", "b", "c")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (8, SIZE, SIZE, 3)).astype(np.uint8)
LABELS = np.arange(8) % 3


def examples(number):
    """Hypothesis's settings: the same examples each time, or as many others as XFER_EXAMPLES says."""
    asked = os.environ.get("XFER_EXAMPLES")
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=int(asked or number),
        derandomize=asked is None,
        database=None,
        deadline=None,
        suppress_health_check=checks,
    )


@dataclass(frozen=True)
class Plan:
    """A network as the subclass describes it, and what is done with it."""

    layers: tuple
    seed: int
    frozen: tuple[bool, ...]
    norm_frozen: bool
    head: xfer.Head


def plans(kinds):
    """Networks of layers of these kinds, with plans."""
    heads = [xfer.Head(), xfer.Head(dropout=0.3), xfer.Head((4,), norm="batch"), xfer.Head((4,), 0.2, "layer")]
    return st.builds(
        Plan,
        st.lists(st.sampled_from(kinds), min_size=1, max_size=4).map(tuple),
        st.integers(0, 2**16),
        st.lists(st.booleans(), min_size=16, max_size=16).map(tuple),
        st.booleans(),
        st.sampled_from(heads),
    )


@contextmanager
def folder():
    made = tempfile.mkdtemp()
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made)


class RandomNetworks(ABC):
    backend: str

    @abstractmethod
    def build(self, plan, seed):
        """The network with weights of that seed, and the name of its head."""

    @abstractmethod
    def state(self, native):
        """All persistent state of the framework's own object by its own names, as copies."""

    @abstractmethod
    def block_of(self, model, plan, name):
        """The number of the block that a tensor of `state` is in, without asking xfer; None for the head."""

    def wrapped(self, plan, seed=0, **options):
        native, head = self.build(plan, seed)
        options |= {} if "weights" in options else {"classes": CLASSES, "new_head": plan.head}
        recipe = xfer.Preprocessing(SIZE, SIZE)
        options = {"preprocessing": recipe, "device": "cpu", "seed": plan.seed} | options
        return native, xfer.wrap(native, backend=self.backend, head=head, **options)

    def trainer(self, model, cache=False, **options):
        settings = {"lr": 0.05, "optimizer": "adamw", "weight_decay": 0.1, "batch_size": 4, "restore_best": False}
        return xfer.Trainer(model, progress=False, cache=cache, **(settings | options))

    def data(self):
        return xfer.data.arrays(IMAGES, LABELS, classes=CLASSES, val=0)

    def freeze(self, model, plan):
        """Some of the blocks."""
        chosen = [block for block, frozen in zip(model.blocks[:-1], plan.frozen, strict=False) if frozen]
        if chosen:
            model.freeze(*chosen)
        if plan.norm_frozen:
            model.freezer.freeze_norm()
        return {i for i, block in enumerate(model.blocks[:-1]) if block in chosen}

    def check(self, plan):
        """Frozen is frozen by the framework's own account, everything else is trained, and a run has all of it."""
        native, model = self.wrapped(plan)
        frozen = self.freeze(model, plan)
        before = self.state(native)
        trainer = self.trainer(model)
        trainer.fit(self.data(), 1)
        model.freezer.verify()
        after = self.state(native)
        moved = {name for name in after if after[name].tobytes() != before[name].tobytes()}
        blocks = {name: self.block_of(model, plan, name) for name in after}
        assert not {name for name in moved if blocks[name] in frozen}
        weights = {name for name in after if after[name].ndim > 1 and self.trained(name)}
        assert {name for name in weights if blocks[name] not in frozen} <= moved, "a weight was not trained"
        if not plan.norm_frozen:
            statistics = {name for name in after if name.endswith(("running_mean", "moving_mean"))}
            assert {name for name in statistics if blocks[name] not in frozen} <= moved, "a statistic was not followed"
        if plan.norm_frozen:
            assert not {name for name in moved if "running_" in name or "moving_" in name} - self.of_head(model, after)

        with folder() as run:
            trainer.save(run)
            other, again = self.wrapped(plan, seed=1, weights=run)
            assert again.trainable == model.trainable
            np.testing.assert_array_equal(again.logits(IMAGES), model.logits(IMAGES))
            theirs, ours = self.state(other), self.state(native)
            assert len(theirs) == len(ours)
            # resumed equals uninterrupted
            resumed = xfer.Trainer.resume(run, model=again, progress=False, cache=False)
            rows = [each.fit(self.data(), 1)[0]["loss"] for each in (trainer, resumed)]
            assert rows[0] == rows[1]
            for name, array in model.weights().items():
                np.testing.assert_array_equal(again.weights()[name], array, err_msg=name)

            # cached equals uncached: the run of the head alone, with features from the disk; of one network in three
            if plan.seed % 3:
                return
            found = []
            for cache in (False, run / "cache"):
                _, model = self.wrapped(plan, weights=run)
                model.freeze()
                trainer = self.trainer(model, cache=cache)
                trainer.fit(self.data(), 2)
                found.append(model.weights())
            assert trainer.cached.computed == len(IMAGES)
            for name, array in found[0].items():
                np.testing.assert_allclose(found[1][name], array, rtol=1e-4, atol=1e-5, err_msg=name)

    def trained(self, name):
        """Whether the framework trains a tensor of more than one dimension."""
        return True

    def of_head(self, model, state):
        """Tensors of the head in `state`."""
        return {name for name in state if model.card.head in name}
