"""How the processes of a Keras job find each other."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from fullcircle.training.on_keras import rendezvous


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("TF_CONFIG", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_a_process_without_a_launcher_is_alone():
    with rendezvous.workers() as joined:
        assert joined is None


def test_a_launcher_of_one_process_leaves_it_alone(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with rendezvous.workers() as joined:
        assert joined is None


def test_what_tf_config_says_goes_before_the_launcher(monkeypatch):
    config = {"cluster": {"worker": ["10.0.0.1:5000", "10.0.0.2:5000"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    monkeypatch.setenv("WORLD_SIZE", "7")
    with rendezvous.workers() as joined:
        assert joined == rendezvous.Workers(rank=1, addresses=("10.0.0.1:5000", "10.0.0.2:5000"))
        assert json.loads(joined.tf_config) == config


def test_a_tf_config_of_one_worker_is_no_company(monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})
    )
    with rendezvous.workers() as joined:
        assert joined is None


def exchange(size, port, restart="0"):
    """What each rank of a job learns, all at the same time."""
    found = {}

    def rank_of(rank):
        environment = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RESTART_COUNT": restart}
        with rendezvous._exchanged(environment) as joined:
            found[rank] = joined
            done.wait()

    done = threading.Barrier(size)
    threads = [threading.Thread(target=rank_of, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return found


def test_the_processes_of_a_launcher_learn_the_same_addresses_on_this_machine_alone():
    found = exchange(3, rendezvous.free_port("127.0.0.1"))
    assert sorted(found) == [0, 1, 2]
    assert {joined.addresses for joined in found.values()} == {found[0].addresses}
    assert [found[rank].rank for rank in range(3)] == [0, 1, 2]
    assert len(set(found[0].addresses)) == 3
    assert all(address.startswith("127.0.0.1:") for address in found[0].addresses)


def test_a_port_is_none_that_the_kernel_gives_away_by_itself():
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(rendezvous.free_port("127.0.0.1") < lowest for _ in range(20))
