"""What is shown: pages and plots."""

import os
from importlib.util import find_spec


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


# A notebook hands its own backend on to processes that it starts; matplotlib does not import where that module is not.
_MODULE = os.environ.get("MPLBACKEND", "").partition("module://")[2]
if _MODULE and not _is_there(_MODULE):
    del os.environ["MPLBACKEND"]
