"""The manifest for Kubernetes: never applied by a test, but it says what the platform says."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from fullcircle.core.project import Compute
from fullcircle.training.launchers.devices import Hardware
from fullcircle.training.launchers.resolve import resolve_launcher


@pytest.fixture(scope="module")
def job(repository: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((repository / "infra/kuberay/rayjob.yaml").read_text())
    return loaded


def pods(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The specs of all pods: the submitter's, the head's, the workers'."""
    cluster = job["spec"]["rayClusterSpec"]
    yield job["spec"]["submitterPodTemplate"]["spec"]
    yield cluster["headGroupSpec"]["template"]["spec"]
    yield from (group["template"]["spec"] for group in cluster["workerGroupSpecs"])


def test_it_is_a_rayjob_of_the_ray_that_is_tested_here(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")
    assert job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is False
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_its_entrypoint_is_a_command_that_there_is(job: dict[str, Any]) -> None:
    from fullcircle.cli import fullcircle

    program, name, *words = shlex.split(job["spec"]["entrypoint"])
    assert program == "fullcircle"
    command = fullcircle.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.make_context(name, words).params["project"] == "flights"


def test_it_has_a_worker_for_each_process_of_its_place(job: dict[str, Any]) -> None:
    words = shlex.split(job["spec"]["entrypoint"])
    where = words[words.index("--where") + 1]
    choice = resolve_launcher(where, Compute(), batch_size=512, hardware=Hardware(cores=1, ray="10.0.0.1:6379"))
    assert (choice.launcher, choice.address) == ("ray", "10.0.0.1:6379")
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == choice.size
    assert group["template"]["spec"]["terminationGracePeriodSeconds"] > Compute().grace_s


def test_no_pod_runs_as_root_or_without_limits_or_holds_a_secret(job: dict[str, Any], repository: Path) -> None:
    for pod in pods(job):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
            assert container["image"].startswith("registry.example/"), "a placeholder, and the README says so"
    text = (repository / "infra/kuberay/rayjob.yaml").read_text()
    assert re.search(r"(?i)password|(?<!account)token:|secret_?key|access_?key", text) is None
    assert "registry.example/fullcircle" in (repository / "infra/kuberay/README.md").read_text()


def test_all_ranks_see_the_same_folder(job: dict[str, Any]) -> None:
    for pod in list(pods(job))[1:]:
        (container,) = pod["containers"]
        home = next(each["value"] for each in container["env"] if each["name"] == "FULLCIRCLE_HOME")
        (mount,) = container["volumeMounts"]
        (volume,) = pod["volumes"]
        assert home.startswith(mount["mountPath"])
        assert mount["name"] == volume["name"]
        assert "persistentVolumeClaim" in volume
