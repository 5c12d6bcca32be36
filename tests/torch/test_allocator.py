"""Memory that is kept is not faulted in again; each case in a process of its own."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, numpy as np, xfer
model = xfer.load("resnet18", backend="torch", weights=None, classes=2, precision="fp32")
images = np.zeros((32, 224, 224, 3), np.uint8)
for _ in range(3):
    model.features(images)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
model.features(images)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))} | environment
    done = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_batch_uses_the_pages_of_those_before_unless_malloc_is_set_up_by_hand():
    ours = faults()
    theirs = faults(MALLOC_TRIM_THRESHOLD_="131072")  # glibc's own default
    assert ours < theirs / 10, f"{ours} page faults a batch, {theirs} without keeping pages"
