"""The pool of workers on a Ray that loses machines wherever a test wants: every task is done, and gives one result."""

import random
import sys
import types

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.errors import UnknownNameError, XferError
from xfer.workflows.ray import pool
from xfer.workflows.ray.pool import Pool


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        self.cause = cause


class Cluster:
    """Machines with three actors each, of which one is lost, with all its actors, whenever `loses` says so."""

    def __init__(self, loses, seed=0):
        self.exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.loses, self.random = loses, random.Random(seed)
        self.results, self.dead, self.actors, self.calls = {}, set(), 0, []

    def remote(self, **resources):
        assert resources == {"num_cpus": 1}
        return lambda kind: types.SimpleNamespace(remote=lambda: self.actor(kind()))

    def actor(self, made):
        machine = self.actors // 3
        while machine in self.dead:
            machine += 1000
        self.actors += 1

        def method(name):
            def call(*arguments):
                reference = f"{name} {len(self.results)}"
                self.results[reference] = machine, lambda: getattr(made, name)(*arguments)
                self.calls.append((name, *arguments))
                return reference

            return types.SimpleNamespace(remote=call)

        return types.SimpleNamespace(begin=method("begin"), do=method("do"))

    def wait(self, references, num_returns, timeout, fetch_local):
        assert references, "waits for nothing"
        assert len(set(references)) == len(references)
        return [self.random.choice(references)], None

    def get(self, reference):
        machine, call = self.results[reference]
        if machine in self.dead:
            raise RayError("the actor is dead")
        if self.loses(reference):
            self.dead.add(machine)
            raise RayError("the node has died")
        try:
            return call()
        except Exception as error:
            raise RayTaskError(error) from None


class Worker:
    def square(self, number):
        if number == 13:
            raise UnknownNameError("number", "thirteen", ["12", "14"])
        return number**2


def pool_on(cluster, patch, processes=4, make=Worker):
    patch.setitem(sys.modules, "ray", cluster)
    patch.setitem(sys.modules, "ray.exceptions", cluster.exceptions)
    patch.setattr(pool, "say", lambda text: None)
    return Pool(make, processes, {"num_cpus": 1})


@settings(deadline=None, max_examples=300)
@given(st.sets(st.integers(0, 60), max_size=3), st.integers(0, 1000), st.integers(0, 12), st.integers(1, 7))
def test_every_task_gives_one_result(lost, seed, tasks, processes):
    with pytest.MonkeyPatch.context() as patch:
        asked = iter(range(10**6))
        workers = pool_on(Cluster(lambda reference: next(asked) in lost, seed), patch, processes)
        found = [*workers.map("square", ((number,) for number in range(tasks)))]
        assert sorted(found) == [(number, number**2) for number in range(tasks)]
        # The workers that are left do another list.
        assert [*workers.map("square", [(5,)])] == [(0, 25)]


def test_a_task_is_taken_when_a_worker_is_free(monkeypatch):
    taken = []
    workers = pool_on(Cluster(lambda reference: False), monkeypatch, 2)
    tasks = (taken.append(number) or (number,) for number in range(9))
    for done, _ in enumerate(workers.map("square", tasks), 1):
        assert len(taken) <= done + 2


def test_a_task_that_ends_its_process_again_and_again_is_given_up(monkeypatch):
    cluster = Cluster(lambda reference: "do" in reference)
    with pytest.raises(XferError, match=r"^the process that did part 1 has ended 4 times: out of memory\?$"):
        list(pool_on(cluster, monkeypatch, 1).map("square", [(2,)]))
    assert sum(name == "do" for name, *_ in cluster.calls) == 4


def test_workers_that_cannot_begin(monkeypatch):
    cluster = Cluster(lambda reference: "begin" in reference)
    with pytest.raises(XferError, match=r"^workers have ended 8 times while they began: out of memory\?$"):
        list(pool_on(cluster, monkeypatch, 2).map("square", [(2,)]))

    def refuse():
        raise XferError("there is no such run")

    with pytest.raises(XferError, match=r"^there is no such run$"):
        list(pool_on(Cluster(lambda reference: False), monkeypatch, make=refuse).map("square", [(2,)]))


def test_an_error_of_a_worker_is_that_of_this_process(monkeypatch):
    with pytest.raises(UnknownNameError, match=r"^unknown number 'thirteen'"):
        list(pool_on(Cluster(lambda reference: False), monkeypatch).map("square", [(1,), (13,)]))
    with pytest.raises(XferError, match=r"^a worker failed: TypeError: "):
        list(pool_on(Cluster(lambda reference: False), monkeypatch).map("square", [("x",)]))
