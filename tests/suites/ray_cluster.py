"""A Ray cluster of several nodes on this machine, of which one is killed in the middle of a job."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager

from xfer.testing import NumpyBackend
from xfer.testing.numpy_backend.model import NumpyModel
from xfer.testing.numpy_backend.stepper import NumpyStepper

FAST = "xfer.testing:NumpyBackend"
SLOW = "tests.suites.ray_cluster:SlowBackend"
SECONDS = 0.03  # of a forward pass

# Of Ray: no statistics for its authors, and nodes that are found dead at once.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_failure_threshold": "4",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
}
_SMALL = {"object_store_memory": 80 << 20, "include_dashboard": False}


class SlowModel(NumpyModel):
    def outputs(self, inputs, stages):
        time.sleep(SECONDS)
        return super().outputs(inputs, stages)


class SlowStepper(NumpyStepper):
    def forward(self, inputs, seed):
        time.sleep(SECONDS)
        return super().forward(inputs, seed)


class SlowBackend(NumpyBackend):
    """So slow that a job is under way for long enough."""

    def build_network(self, spec):
        return SlowModel(self, spec)

    def stepper(self, model, update):
        return SlowStepper(model, update)


class Nodes:
    """A head without a CPU, and nodes with one each."""

    def __init__(self, number):
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **_SMALL})
        self._nodes = []
        for _ in range(number):
            self.add_one()
        self.environment = {**os.environ, "RAY_ADDRESS": self._cluster.address}

    def start(self, *words):
        """`xfer` with these words, on the cluster."""
        command = [sys.executable, "-m", "xfer", *map(str, words)]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def add_one(self):
        """One more node."""
        self._nodes.append(self._cluster.add_node(num_cpus=1, **_SMALL))

    def kill_one(self):
        """SIGKILL for a node and its workers."""
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def close(self):
        self._cluster.shutdown()


@contextmanager
def nodes(number):
    """A cluster that ends with the context."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    cluster = Nodes(number)
    try:
        yield cluster
    finally:
        cluster.close()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def wait_for(something, process, seconds=300):
    """Wait until `something()` is true, while a process runs."""
    end = time.monotonic() + seconds
    while not something():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.05)


def finished(process, seconds=500):
    """What a process has written; it has ended well."""
    out, said = process.communicate(timeout=seconds)
    assert process.returncode == 0, said[-5000:]
    return out, said
