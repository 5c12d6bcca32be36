"""Memory that is kept is not faulted in again; each case in a process of its own."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, numpy as np, xfer
from xfer.runtime.malloc import keep_pages
if "keep" in sys.argv:
    assert keep_pages()
model = xfer.load("resnet18", backend="torch", weights=None, classes=2, precision="fp32")
images = np.zeros((12, 224, 224, 3), np.uint8)
for _ in range(3):
    model.features(images)
found = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model.features(images)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(found))  # other allocations of the process come and go
"""


def faults(*arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_the_command_line_keeps_pages_and_a_library_call_does_not():
    kept, plain = faults("keep"), faults()
    assert kept < plain / 4, f"{kept} page faults a batch, {plain} without keeping pages"
