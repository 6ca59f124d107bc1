"""TPUs: whether there is one, which packages use it, and what their processes need in the environment.

No run on TPU hardware was made. What is here follows the packages' own documents and what they do without hardware.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from fullcircle.core.errors import UsageError

VARIABLES = ("TPU_NAME", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_ID")
"""Set by Google Cloud and by its Kubernetes on machines that have a TPU."""

LIBTPU = Path("/lib/libtpu.so")
"""Where the machine images of Google Cloud have it; the package `libtpu` brings its own."""

DOCUMENT = "see 'TPU' in docs/training.md"


def found(env: Mapping[str, str], root: Path = Path("/")) -> str:
    """Where a TPU was seen: a device file, or a variable; empty when there is none."""
    chips = sorted(path.name for path in (root / "dev").glob("accel*") if re.fullmatch(r"accel\d+", path.name))
    if chips:
        return f"/dev/{chips[0]}"
    return next((name for name in VARIABLES if env.get(name)), "")


def require(framework: str, seen: str) -> None:
    """Check that this framework can use a TPU here.

    Raises:
        UsageError: no TPU is seen, or a package is missing or has no TPU kernels.
    """
    if not seen:
        raise UsageError(
            f"device tpu: no TPU is seen here (no /dev/accel0, none of {', '.join(VARIABLES)} is set)",
            hint="set compute.device to 'cpu' or 'auto', or run on a TPU machine",
        )
    if framework == "torch" and importlib.util.find_spec("torch_tpu") is None:
        raise UsageError(
            "device tpu: torch needs the package torch_tpu, which is not installed",
            hint=f"install the torch_tpu that belongs to your torch; torch_xla ends at torch 2.9; {DOCUMENT}",
        )
    if framework == "keras" and not _tensorflow_is_for_tpu():
        raise UsageError(
            "device tpu: the TensorFlow that is installed has no TPU kernels; tensorflow-tpu has, and replaces it",
            hint=f"run in an image of its own with tensorflow-tpu; {DOCUMENT}",
        )


def environment(framework: str) -> dict[str, str]:
    """Variables that a rank needs before its framework is imported, so that it finds the TPU.

    torch_tpu needs none of ours: a process takes the device of its LOCAL_RANK, which every launcher sets. TensorFlow
    reaches libtpu as a pluggable device. Source: Cloud TPU's guide to TensorFlow on PJRT.
    """
    if framework != "keras":
        return {}
    package = importlib.util.find_spec("libtpu")
    shipped = Path(package.origin).with_name("libtpu.so") if package and package.origin else LIBTPU
    return {"NEXT_PLUGGABLE_DEVICE_USE_C_API": "true", "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": str(shipped)}


def _tensorflow_is_for_tpu() -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        version("tensorflow-tpu")
    except PackageNotFoundError:
        return False
    return True
