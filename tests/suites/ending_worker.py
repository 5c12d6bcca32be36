"""A process that `xfer.runtime.launching` starts in tests; its job says by rank what it does, step by step."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from xfer import errors
from xfer.runtime import ending
from xfer.runtime.signals import Interrupted, Watch


def main():
    ending.end_with_parent()
    rank, job = os.environ["RANK"], json.load(sys.stdin)
    folder = Path(job["folder"])
    (folder / f"{rank}.json").write_text(json.dumps(dict(os.environ) | {"pid": os.getpid()}))
    for what, *more in job[rank]:
        if what == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (folder / f"{rank}.deaf").touch()
        if what == "await":
            wait_for(folder / more[0])
        if what == "await-end":
            wait_for_end_of(json.loads((folder / more[0]).read_text())["pid"])
        if what == "kill":
            os.kill(os.getpid(), more[0])
        if what == "crash":
            raise RuntimeError(more[0])
        if what == "print":
            print(more[0])
        if what == "tell":
            ending.tell(getattr(errors, more[0])(more[1]))
            return more[2]
        if what == "watch":
            with Watch() as watch:
                (folder / f"{rank}.watches").touch()
                try:
                    with watch.anywhere():
                        time.sleep(60)
                except Interrupted as stop:
                    stop.saved = folder / more[0]
                    ending.tell(stop)
                    return 128 + stop.number
    return 0


def wait_for(path):
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def wait_for_end_of(pid):
    """Until the process is gone, or waits for the one that has started it."""
    until = time.monotonic() + 60
    while (status := Path(f"/proc/{pid}/stat")).exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())
