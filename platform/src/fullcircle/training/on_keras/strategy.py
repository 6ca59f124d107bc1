"""TensorFlow's devices, threads and distribution strategies for a job."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Compute
from fullcircle.training.on_keras.backend import tf
from fullcircle.training.on_keras.rendezvous import Workers


def configure_devices(compute: Compute) -> None:
    """Let TensorFlow see the devices that were asked for, and no others. Safe to call twice.

    TensorFlow takes threads and devices once, before its first operation; afterwards what it has stays.

    Raises:
        UsageError: the device is not to be had here.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if compute.device == "cuda" and not gpus:
        raise UsageError("device is 'cuda', but TensorFlow finds no GPU here", hint="set compute.device to 'auto'")
    if compute.device == "tpu":
        _require_tpu()
    with contextlib.suppress(RuntimeError):  # TensorFlow has begun to work: too late, and no reason to fail
        tf.config.threading.set_intra_op_parallelism_threads(compute.threads)
        tf.config.threading.set_inter_op_parallelism_threads(compute.threads)
        tf.config.set_visible_devices(_own_gpus(gpus, compute), "GPU")
        for gpu in tf.config.get_visible_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)  # by default TensorFlow takes all of it at once


def of_workers(joined: Workers, compute: Compute) -> Any:
    """The strategy that joins the processes of a job. Nothing of TensorFlow may have run before.

    Every process must get here, and make the same variables in the same order.
    """
    before = os.environ.get("TF_CONFIG")
    os.environ["TF_CONFIG"] = joined.tf_config
    try:
        # Twice the watchdog's patience: a hung rank is the launcher's to notice, with its stack dumps.
        patience = max(120.0, 2 * compute.stall_s)
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=patience)
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    finally:
        if before is None:
            del os.environ["TF_CONFIG"]


def of_one_process(compute: Compute) -> Any | None:
    """The strategy of a process without others: None where it has one device only."""
    if compute.device == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    # "Logical": a device may be cut into several, as the tests do with the CPU.
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
        if devices:
            return None
    return None


def _own_gpus(gpus: list[Any], compute: Compute) -> list[Any]:
    """The GPUs of this process: none on `cpu`, all of them when it is alone, one of them for each local rank."""
    if compute.device == "cpu":
        return []
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == 1 or len(gpus) <= 1:
        return gpus
    rank = int(os.environ["LOCAL_RANK"])
    if rank >= len(gpus):
        raise UsageError(
            f"{os.environ['LOCAL_WORLD_SIZE']} processes were asked for on {len(gpus)} GPUs",
            hint=f"ask for at most {len(gpus)}",
        )
    return [gpus[rank]]


def _require_tpu() -> None:
    if not tf.config.list_physical_devices("TPU"):
        raise UsageError(
            f"device is 'tpu', but TensorFlow {tf.__version__} finds none here",
            hint="train in the image of infra/tpu, on a machine with a TPU",
        )
