"""Ray's notice that a node is about to be taken away, asked for within a rank."""

from __future__ import annotations


def preempted() -> bool:
    """Whether Ray knows that a node of this job is being drained. Collective: every rank asks as often.

    Raises:
        Exception: this is no rank of Ray Train, or the other ranks are gone.
    """
    import ray.train

    return ray.train.get_preemption_info() is not None
