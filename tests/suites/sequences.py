"""Any sequence of freezing, new heads, training and interruptions: what is frozen stays, what is resumed goes on.

Two runs make the same sequence. One of them is saved and resumed now and then; both end with the same bits.
"""

import numpy as np
from hypothesis import strategies as st

import xfer
from tests.suites.random_networks import folder

CLASSES = ("a", "b", "c")
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (9, 16, 16, 3)).astype(np.uint8), np.arange(9) % 3

HEADS = [xfer.Head(), xfer.Head((4,), 0.3, "batch"), xfer.Head(dropout=0.2)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("freeze"), st.sampled_from(["", "stem", "layer1", "head", "*bn*"])),
        st.tuples(st.just("unfreeze"), st.integers(0, 2)),
        st.tuples(st.just("freeze_norm"), st.none()),
        st.tuples(
            st.just("head"), st.sampled_from([xfer.Head(), xfer.Head((4,), 0.3, "batch"), xfer.Head(dropout=0.2)])
        ),
        st.tuples(st.just("fit"), st.integers(1, 2)),
        st.tuples(st.just("rates"), st.sampled_from([0.01, 0.1])),
        st.tuples(st.just("resume"), st.none()),
    ),
    min_size=2,
    max_size=8,
)
OPTIONS = st.fixed_dictionaries(
    {
        "optimizer": st.sampled_from(["sgd", "adamw"]),
        "restore_best": st.booleans(),
        "swa": st.sampled_from([None, 1]),
        "ema": st.sampled_from([None, 0.8]),
        "l2_sp": st.sampled_from([None, 0.5]),
        "layer_decay": st.sampled_from([None, 0.5]),
        "clip_norm": st.sampled_from([None, 0.1]),
        "class_weights": st.sampled_from(["none", "balanced"]),
    }
).map(lambda options: options | ({"ema": None} if options["swa"] else {}))


class Sequences:
    """Set `backend`."""

    backend = None

    def begin(self, options):
        model = xfer.load("tiny", backend=self.backend, weights=None, classes=CLASSES, image_size=16, device="cpu")
        model.set_precision("fp32")
        return xfer.Trainer(model, lr=0.05, batch_size=4, weight_decay=0.1, progress=False, cache=False, **options)

    def data(self):
        return xfer.data.arrays(IMAGES, LABELS, IMAGES, LABELS, classes=CLASSES)

    def make(self, trainer, step, argument):
        model = trainer.model
        if step == "freeze":
            model.freeze(*([argument] if argument else []))
        elif step == "unfreeze":
            model.unfreeze(last=argument)
        elif step == "freeze_norm":
            model.freezer.freeze_norm()
        elif step == "head":
            model.replace_head(CLASSES, argument, seed=1)
        elif step == "rates":
            trainer.rates = dict.fromkeys(trainer.rates, argument)
        elif step == "fit" and model.trainable & model.parameters.keys():
            self.fit(trainer, argument)

    def fit(self, trainer, epochs):
        """What is frozen stays, bit by bit, and every weight that is not is trained."""
        model, before = trainer.model, trainer.model.weights()
        live = set(model.live_weights())
        trainer.fit(self.data(), epochs)
        after = model.weights()
        moved = {name for name in after if after[name].tobytes() != before[name].tobytes()}
        assert moved <= live
        if not trainer.settings.restore_best:  # the best epoch may be none
            assert {name for name in live if after[name].ndim > 1} <= moved
        model.freezer.verify()

    def check(self, steps, options):
        plain, broken = self.begin(options), self.begin(options)
        for step, argument in [*steps, ("fit", 1)]:
            if step == "resume":
                if broken.history:  # before, a loss that is counted on the data is not known
                    broken = self.resumed(broken)
                continue
            for trainer in (plain, broken):
                self.make(trainer, step, argument)
            assert plain.model.trainable == broken.model.trainable
        for name, array in plain.model.weights().items():
            np.testing.assert_array_equal(broken.model.weights()[name], array, err_msg=name)
        keys = [[{k: v for k, v in row.items() if k != "seconds"} for row in t.history] for t in (plain, broken)]
        assert keys[0] == keys[1]

    def resumed(self, trainer):
        with folder() as where:
            trainer.save(where)
            return xfer.Trainer.resume(where, backend=self.backend, device="cpu", progress=False, cache=False)
