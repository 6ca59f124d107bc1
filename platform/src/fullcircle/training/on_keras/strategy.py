"""Which devices TensorFlow may use, with how many threads, and how it shares one model among them."""

from __future__ import annotations

import contextlib

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute
from fullcircle.training.on_keras.backend import tf


def settle_devices(compute: Compute) -> None:
    """Let TensorFlow see the devices that were asked for, and no others. Safe to call twice.

    TensorFlow takes threads and devices once, before its first operation; afterwards what it has stays.

    Raises:
        UsageError: the device is not to be had here.
    """
    if compute.device == "cuda" and not tf.config.list_physical_devices("GPU"):
        raise UsageError("device is 'cuda', but TensorFlow finds no GPU here", hint="set compute.device to 'auto'")
    with contextlib.suppress(RuntimeError):  # TensorFlow has begun to work: too late, and no reason to fail
        tf.config.threading.set_intra_op_parallelism_threads(compute.threads)
        tf.config.threading.set_inter_op_parallelism_threads(compute.threads)
        if compute.device == "cpu":
            tf.config.set_visible_devices([], "GPU")
