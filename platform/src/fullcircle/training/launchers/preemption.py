"""Ray's preemption notice (a node is about to be drained), asked for within a rank."""

from __future__ import annotations


def node_is_draining() -> bool:
    """Whether Ray knows that a node of this job is being drained. Collective: every rank asks as often.

    Raises:
        Exception: this is no rank of Ray Train, or the other ranks are gone.
    """
    import ray.train

    return ray.train.get_preemption_info() is not None
