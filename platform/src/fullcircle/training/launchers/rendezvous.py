"""A rendezvous for torch's elastic launcher that listens on loopback only.

torch's own c10d rendezvous listens on every interface, and unpickles what it reads there.
"""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousParameters, rendezvous_handler_registry
from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import C10dRendezvousBackend
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler

NAME = "fullcircle-loopback"


def register() -> None:
    """Make the meeting point known to torch under `NAME`. Safe to call twice."""
    if NAME not in rendezvous_handler_registry._registry:
        rendezvous_handler_registry.register(NAME, _handler)


class _Loopback(C10dRendezvousBackend):
    @property
    def name(self) -> str:
        return NAME


def _handler(params: RendezvousParameters) -> RendezvousHandler:
    store = _store()
    return create_handler(store, _Loopback(store, params.run_id), params)


def _store() -> Any:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    # The store owns the socket from here on.
    return dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", port, is_master=True, timeout=timedelta(seconds=60), master_listen_fd=listener.detach()
    )
