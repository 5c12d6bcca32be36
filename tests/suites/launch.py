"""The processes of a run, started as torchrun does it, but in forks of one that has imported the framework.

When one fails the others are sent SIGTERM, and the run has failed.
"""

import importlib
import os
import signal
import socket
import sys


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def fork(size, call, *arguments):
    """Run `module:function` in so many forks of this process, which ends with them; see `tests.suites.processes`."""
    port, ranks = free_port(), {}
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, **where}
            os.environ |= {name: str(value) for name, value in numbers.items()}
            module, _, function = call.partition(":")
            getattr(importlib.import_module(module), function)(*arguments)
            return
        ranks[pid] = rank
    sys.exit(_outcome(ranks))


def _outcome(ranks):
    """The exit code of a run, whose processes are given by id."""
    failed = 0
    while ranks:
        pid, status = os.wait()
        rank, code = ranks.pop(pid), os.waitstatus_to_exitcode(status)
        if code:
            print(f"rank : {rank}\n exitcode : {code} ", file=sys.stderr, flush=True)
        if code and not failed:
            failed = 1
            for other in ranks:
                os.kill(other, signal.SIGTERM)
    return failed
