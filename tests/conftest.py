"""For all suites: what is cached goes into a folder of its own, also in the processes that tests start."""

import os
import tempfile

os.environ.setdefault("XFER_FEATURES", tempfile.mkdtemp(prefix="xfer-features-"))
