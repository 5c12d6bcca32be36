"""The conformance suite of backends, as tests that a third party subclasses in three lines."""

from __future__ import annotations

from xfer.testing.suite_bad_numbers import BadNumbers
from xfer.testing.suite_contracts import Contracts
from xfer.testing.suite_explanations import Explaining
from xfer.testing.suite_habits import Habits
from xfer.testing.suite_lora import LowRank
from xfer.testing.suite_memory import Memory
from xfer.testing.suite_numerics import Numerics
from xfer.testing.suite_range_test import RangeTests
from xfer.testing.suite_sharing import Sharing
from xfer.testing.suite_small_batches import SmallBatches
from xfer.testing.suite_training import Training


class BackendSuite(
    Contracts, Numerics, Training, Sharing, Memory, BadNumbers, SmallBatches, Explaining, RangeTests, LowRank, Habits
):
    """Subclass it in a test file, and set `backend` to a registered name or a `Backend`.

    Every test builds the `tiny` network, which a backend must have; the reference is `NumpyBackend` with the same
    weights. A failure says which tensor differs and by how much.
    """
