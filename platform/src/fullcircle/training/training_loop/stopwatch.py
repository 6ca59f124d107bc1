"""Measures where a rank's time goes: waiting for data, computing, waiting for other ranks, writing checkpoints."""

from __future__ import annotations

import os
import resource
import socket
import time

from fullcircle.training.jobs import RankStats, Seconds
from fullcircle.training.ports import Chunk


class Stopwatch:
    """Adds up the seconds of one rank. `latest` is the last chunk's share.

    Args:
        begun: when all of it began (`time.time`): the launch, or the start of this process where it was replaced.
    """

    def __init__(self, *, communication_measured: bool, begun: float) -> None:
        self.latest = Seconds()
        self.exchange_s = 0.0
        self.checkpoint_s = 0.0
        self._communication_measured = communication_measured
        self._seconds = Seconds()
        self._samples = self._steps = 0
        self._made = self._at = time.perf_counter()
        self._begun, self._first_step_s = begun, 0.0
        self._cpu_at = _cpu_s()

    def since_last(self) -> float:
        """Seconds since this was last asked."""
        now = time.perf_counter()
        passed, self._at = now - self._at, now
        return passed

    def chunk(self, chunk: Chunk, waited_s: float, worked_s: float, communication_s: float) -> None:
        """A chunk was learned; what passed since `worked_s` was read was the exchange with the other ranks."""
        self.exchange_s = self.since_last()
        communication_s = min(communication_s, worked_s)
        self.latest = Seconds(
            data=waited_s, compute=worked_s - communication_s, communication=communication_s + self.exchange_s
        )
        self._seconds += self.latest
        self._steps += chunk.steps
        self._samples += int((chunk.w > 0).sum())
        self._first_step_s = self._first_step_s or time.time() - self._begun

    def rank_stats(self, rank: int, device: str, gpu_peak_mb: float = 0.0) -> RankStats:
        """All of it so far."""
        return RankStats(
            rank=rank,
            host=socket.gethostname(),
            device=device,
            wall_s=time.perf_counter() - self._made,
            cpu_s=_cpu_s() - self._cpu_at,
            peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            gpu_peak_mb=gpu_peak_mb,
            samples=self._samples,
            steps=self._steps,
            seconds=self._seconds + Seconds(checkpoint=self.checkpoint_s),
            first_step_s=self._first_step_s,
            communication_measured=self._communication_measured,
        )


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
