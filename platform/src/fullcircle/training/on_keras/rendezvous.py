"""Rendezvous of a job's processes for TensorFlow: builds `TF_CONFIG` from the elastic launcher's store.

Torch's elastic launcher starts the processes of both frameworks, and gives each its rank and the address of one store.
Each puts its own address there and reads the others'. Ray's TensorflowTrainer has done that already: it sets TF_CONFIG.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fullcircle.core.errors import TrainingFailed

TIMEOUT = timedelta(seconds=120)
"""How long a process waits for the others to come."""

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True)
class Workers:
    """The processes of a job: addresses `host:port` in the order of their ranks, and which of them this one is."""

    rank: int
    addresses: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many processes."""
        return len(self.addresses)

    @property
    def tf_config(self) -> str:
        """What TensorFlow reads from the environment variable TF_CONFIG."""
        task = {"type": "worker", "index": self.rank}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


@contextlib.contextmanager
def workers() -> Iterator[Workers | None]:
    """The job's processes, as the environment tells of them; None when this one is alone.

    Raises:
        ConnectionError: the others do not come.
    """
    if "TF_CONFIG" in os.environ:
        yield _told(os.environ["TF_CONFIG"])
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
        with _exchanged(os.environ) as joined:
            yield joined
    else:
        yield None


def _told(tf_config: str) -> Workers | None:
    config = json.loads(tf_config)
    addresses = tuple(config["cluster"]["worker"])
    return Workers(rank=int(config["task"]["index"]), addresses=addresses) if len(addresses) > 1 else None


@contextlib.contextmanager
def _exchanged(environment: Mapping[str, str]) -> Iterator[Workers]:
    from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]

    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    master, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    restart = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    serves = rank == 0 and environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        # Bound to this block: with rank 0's the store ends, and another may still be reading.
        served = TCPStore(master, port, size, is_master=serves, timeout=TIMEOUT, wait_for_workers=False)
        store = PrefixStore(f"fullcircle/tensorflow/{restart}", served)
        store.set(str(rank), _own_address(master, alone=environment.get("LOCAL_WORLD_SIZE") == str(size)))
        addresses = tuple(store.get(str(other)).decode() for other in range(size))
    except DistError as error:
        # No error of ours: a peer that died while it started is replaced, and with it this rank.
        raise ConnectionError(
            f"rank {rank} of {size} did not find the others at {master}:{port} ({str(error).splitlines()[0]})"
        ) from error
    yield Workers(rank=rank, addresses=addresses)
    del store, served


def _own_address(master: str, *, alone: bool) -> str:
    """Host and a free port of this process, as the other processes can reach it."""
    host = "127.0.0.1" if alone else _host_towards(master)
    return f"{host}:{free_port(host)}"


def free_port(host: str) -> int:
    """A port that TensorFlow's server can take a moment later.

    It lies below those that the kernel gives away by itself: any connection of any program may take one of them in
    that moment, and TensorFlow shares no port.

    Raises:
        TrainingFailed: there is none.
    """
    end = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else 32768
    for _ in range(100):
        port = end // 2 + secrets.randbelow(end - end // 2)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            return port
    raise TrainingFailed(f"no free port on {host} between {end // 2} and {end}", hint="see what listens there")


def _host_towards(master: str) -> str:
    """The address of this machine on the way to `master`; on the master itself, on the way to anywhere."""
    for target in (master, "192.0.2.1"):  # the second is nobody's (RFC 5737); connecting UDP sends nothing
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            host: str = probe.getsockname()[0]
        if not host.startswith("127."):
            return host
    return host
