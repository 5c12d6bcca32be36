"""What launchers say of the processes of a run, and how these find each other."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from xfer.errors import BackendError, DistributedError, UsageError
from xfer.runtime.distributed import Launch, launch_environment
from xfer.runtime.rendezvous import addresses, free_port, main_address

WORKERS = ["10.0.0.2:1000", "10.0.0.3:1000"]


@pytest.fixture(autouse=True)
def nothing(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TF_CONFIG", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)


def tf_config(monkeypatch, cluster, task):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))


def test_nothing_is_said():
    assert launch_environment() == Launch(0, 1, 0)


def test_workers_of_tf_config(monkeypatch):
    tf_config(monkeypatch, {"worker": WORKERS}, {"type": "worker", "index": 1})
    assert launch_environment() == Launch(1, 2, 0, tuple(WORKERS))


def test_a_chief_comes_first(monkeypatch):
    tf_config(monkeypatch, {"worker": WORKERS, "chief": ["10.0.0.1:1000"]}, {"type": "worker", "index": 1})
    launch = launch_environment()
    assert (launch.rank, launch.size, launch.addresses[0]) == (2, 3, "10.0.0.1:1000")
    assert main_address(launch) == ("10.0.0.1", 1000)


def test_one_worker_is_one_process(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert launch_environment().size == 1


def test_world_size_comes_first(monkeypatch):
    tf_config(monkeypatch, {"worker": WORKERS}, {"type": "worker", "index": 1})
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert launch_environment() == Launch(0, 3, 0)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"cluster": [1]}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": 5}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_another_tf_config_is_refused_in_one_line(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match=r"^TF_CONFIG is .* expected a cluster with workers") as raised:
        launch_environment()
    assert "\n" not in str(raised.value)


def test_what_is_no_number_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(UsageError, match=r"^RANK='first': expected the number"):
        launch_environment()


def test_addresses_are_exchanged_whoever_else_calls(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port := free_port()))
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(addresses, Launch(rank, 3, rank), 100 + rank, 30) for rank in (2, 1)]
        main = pool.submit(addresses, Launch(0, 3, 0), 100, 30)
        for message in (b"GET / HTTP/1.1\n", b"", b"[7, 1]\n"):
            _call(port, message)
        found = [each.result() for each in (main, *others)]
    assert found == [["127.0.0.1:100", "127.0.0.1:101", "127.0.0.1:102"]] * 3


def _call(port, message):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(message)
    except OSError:  # before the first process listens, or after all are there
        pass


def test_a_cluster_that_is_known_is_not_asked_for():
    assert addresses(Launch(1, 2, 0, tuple(WORKERS)), 5) == WORKERS


@pytest.mark.parametrize("rank", [0, 1])
def test_who_is_alone_says_so(monkeypatch, rank):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(DistributedError, match=r"do not find each other at 127.0.0.1:\d+ \(MASTER_ADDR, MASTER_PORT\)"):
        addresses(Launch(rank, 2, rank), 5, timeout=0.2)


def test_a_port_that_is_taken(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
        with pytest.raises(DistributedError, match="in use"):
            addresses(Launch(0, 2, 0), 5, timeout=5)


def test_torchrun_listens_at_the_port_itself(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "host")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert main_address(Launch(1, 2, 1)) == ("host", 29501)


def test_no_address_is_refused_in_one_line(monkeypatch):
    with pytest.raises(BackendError, match="WORLD_SIZE=2, but MASTER_ADDR='' and MASTER_PORT='': give host and port"):
        addresses(Launch(0, 2, 0), 5)
