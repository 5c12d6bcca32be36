"""How the processes of a run find each other: at the address of the first, which all are given by their launcher."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import ExitStack

from xfer.errors import BackendError, DistributedError
from xfer.runtime.distributed import Launch

TIMEOUT = 1800.0  # in seconds: longer than the slowest of a run's processes may take to start
_LONGEST = 1 << 16  # bytes of a message
_SLOWEST = 10.0  # seconds that one which has called may take to say who it is


def main_address(launch: Launch) -> tuple[str, int]:
    """Host and port of the first process: `MASTER_ADDR` and `MASTER_PORT`, or of a cluster that is known its first.

    torchrun listens at `MASTER_PORT` itself: then it is the port after that.

    Raises:
        BackendError: nothing says them.
    """
    if launch.addresses:
        host, _, port = launch.addresses[0].rpartition(":")
    else:
        host, port = (os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
    if not host or not port.isdecimal():
        raise BackendError(
            f"WORLD_SIZE={launch.size}, but MASTER_ADDR={host!r} and MASTER_PORT={port!r}: give host and port of the "
            "first process, or start with torchrun"
        )
    return host, int(port) + (os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True")


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def addresses(launch: Launch, port: int, timeout: float = TIMEOUT) -> list[str]:
    """host:port of each process, by rank. All must call it, and each waits for all.

    Args:
        launch: this process.
        port: which others can call this process at.
        timeout: in seconds.

    Raises:
        DistributedError: they do not find each other.
    """
    if launch.addresses:
        return list(launch.addresses)
    host, at = main_address(launch)
    deadline = time.monotonic() + timeout
    try:
        return (
            _listen(launch.size, host, at, port, deadline)
            if launch.rank == 0
            else _call(launch, host, at, port, deadline)
        )
    except OSError as error:
        raise DistributedError(
            f"the processes of this run do not find each other at {host}:{at} (MASTER_ADDR, MASTER_PORT): {error}"
        ) from None


def _listen(size: int, host: str, at: int, port: int, deadline: float) -> list[str]:
    """Of the first process: hear where all others are, then tell all."""
    found, callers = {0: _joined(host, port)}, dict[int, socket.socket]()
    with ExitStack() as opened:
        server = opened.enter_context(_server(host, at))
        while len(found) < size:
            server.settimeout(max(deadline - time.monotonic(), 0.001))
            caller, (theirs, *_) = server.accept()
            opened.enter_context(caller)
            caller.settimeout(_SLOWEST)
            try:
                rank, their_port = (int(number) for number in json.loads(_line(caller)))
            except (ValueError, TypeError, OSError):  # no process of this run
                continue
            if 0 < rank < size:
                found[rank], callers[rank] = _joined(theirs, their_port), caller
        told = [found[rank] for rank in range(size)]
        for caller in callers.values():
            caller.sendall(json.dumps(told).encode() + b"\n")
    return told


def _call(launch: Launch, host: str, at: int, port: int, deadline: float) -> list[str]:
    """Of all others: tell the first process where this one is, and hear where all are."""
    while True:
        try:
            with socket.create_connection((host, at), timeout=_SLOWEST) as main:
                main.sendall(json.dumps([launch.rank, port]).encode() + b"\n")
                main.settimeout(max(deadline - time.monotonic(), 0.001))
                told = json.loads(_line(main))
        except ConnectionError:  # it does not listen yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return [str(address) for address in told]


def _server(host: str, at: int) -> socket.socket:
    family = socket.getaddrinfo(host, at, type=socket.SOCK_STREAM)[0][0]
    try:
        return socket.create_server((host, at), family=family)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return socket.create_server(("", at), family=family)  # the name is that of a service in front of this machine


def _line(connection: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        part = connection.recv(4096)
        if not part or len(found) > _LONGEST:
            raise ConnectionError("the connection ended")
        found += part
    return found


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
