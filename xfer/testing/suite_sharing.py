"""Threads, copies, pickles and forks: a model that is shared answers as one that is not, or says in a line why not."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xfer
from xfer.errors import UsageError
from xfer.models.base_model import BaseModel
from xfer.specs.decision import Decision
from xfer.specs.optimizer import OptimizerSpec
from xfer.testing.suite_base import CLASSES, Suite, images, labels
from xfer.workflows.ensemble import Ensemble, Member

THREADS = 4


def in_threads(work: Callable[[int], Any], number: int = THREADS) -> list[Any]:
    """What `work` gives for 0, 1, ... in threads that begin at once; what one raises is raised."""
    found: dict[int, Any] = {}
    together = threading.Barrier(number)

    def run(i: int) -> None:
        together.wait()
        try:
            found[i] = work(i)
        except BaseException as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found.values():
        if isinstance(each, BaseException):
            raise each
    return [found[i] for i in range(number)]


class Sharing(Suite):
    """One model, several users of it."""

    def test_threads_get_the_answers_of_one(self) -> None:
        model = self.model()
        expected = [model.predict_proba(images(4, i)) for i in range(THREADS)]
        for _ in range(3):
            found = in_threads(lambda i: model.predict_proba(images(4, i)))
            assert all(a.tobytes() == b.tobytes() for a, b in zip(found, expected, strict=True))

    def test_predicting_beside_training_changes_nothing(self) -> None:
        """With live normalisation and dropout, on the same model and on another."""

        def trained(*, shared: bool) -> dict[str, np.ndarray]:
            model = self.model(head=xfer.Head((8,), 0.5, "batch"))
            other = self.model(head=xfer.Head((8,), 0.5, "batch"))
            stepper, beside = self.stepper(model, OptimizerSpec("adamw")), self.stepper(other)

            def work(i: int) -> None:
                if i == 0:
                    self.go_on(stepper, range(6))
                elif shared and i == 1:
                    self.go_on(beside, range(6))
                elif shared:
                    for _ in range(6):
                        model.predict_proba(images(2))

            in_threads(work)
            return model.weights()

        alone, shared = trained(shared=False), trained(shared=True)
        assert all(array.tobytes() == shared[name].tobytes() for name, array in alone.items())

    def test_an_ensemble_in_threads(self) -> None:
        """Heads on one backbone take turns on it."""
        model = self.model()
        heads = []
        for seed in range(3):
            model.replace_head(CLASSES, seed=seed)
            heads.append(Member(model, model.read(["fc.weight", "fc.bias"])))
        ensemble = Ensemble(tuple(heads))
        expected = ensemble.predict_proba(images(3))
        for found in in_threads(lambda i: ensemble.predict_proba(images(3))):
            assert found.tobytes() == expected.tobytes()

    @pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
    def test_copies(self, clone: Callable[[BaseModel], BaseModel]) -> None:
        """Used before, with a plan, a temperature and a head of its own; the copy goes its own way."""
        model = self.model(head=xfer.Head((4,), 0.1, "layer"))
        model.freeze()
        self.train(model)
        model.decision = Decision(temperature=2.0)
        again = clone(model)
        assert again.trainable == model.trainable
        np.testing.assert_array_equal(again.predict_proba(images(3)), model.predict_proba(images(3)))
        before = model.weights()
        again.unfreeze()
        self.train(again)
        assert all(array.tobytes() == before[name].tobytes() for name, array in model.weights().items())
        assert again.weights()["conv1.weight"].tobytes() != before["conv1.weight"].tobytes()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
    @pytest.mark.filterwarnings("ignore:.*fork")
    def test_a_forked_process_is_told(self) -> None:
        model = self.model()
        stepper = self.stepper(model)
        model.predict_proba(images(1))
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                said = []
                for use in (
                    lambda: model.predict_proba(images(1)),
                    lambda: stepper.step(images(3), labels(3), dict.fromkeys(model.blocks, 0.1)),
                ):
                    try:
                        use()
                    except UsageError as error:
                        said.append(str(error))
                os.write(writer, "\n".join(said).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            lines = pipe.read().splitlines()
        os.wait()
        assert len(lines) == 2
        assert all("before this process was forked" in line and "spawn" in line for line in lines)

    def test_a_model_is_freed_when_it_is_let_go_of(self) -> None:
        """Without Python's collector, if the framework's own networks are: it is part of no circle."""
        gc.collect()
        gc.disable()
        try:
            model = self.model()
            model.freeze()
            xfer.Trainer(model, progress=False, cache=False).fit(
                xfer.data.arrays(images(6), labels(6), images(6), labels(6), classes=CLASSES), 1
            )
            model.predict(images(2))
            gone = weakref.ref(model)
            del model
            if self.collected:
                gc.collect()
            assert gone() is None
        finally:
            gc.enable()
