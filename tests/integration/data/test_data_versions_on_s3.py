"""Data versions on a remote that speaks S3: the real client against moto's server on loopback."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import free_port
from fullcircle.data.data_versions import Versions
from fullcircle.data.partitions import partitions

pytestmark = pytest.mark.skipif(importlib.util.find_spec("dvc_s3") is None, reason="needs the extra 's3'")


@pytest.fixture
def on_s3(tmp_path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home"), "FULLCIRCLE_DVC_REMOTE": "s3://bucket/data"})


def test_a_version_comes_back_from_s3_alone(project, on_s3, bucket, tmp_path):
    expected = {part.path.name: part.path.read_bytes() for part in partitions(project)}

    version = Versions(on_s3).commit(project, partitions(project))
    shutil.rmtree(on_s3.home)
    elsewhere = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "b"), "FULLCIRCLE_DVC_REMOTE": on_s3.dvc_remote})
    restored = Versions(elsewhere).restore(version, tmp_path / "out")

    assert {path.name: path.read_bytes() for path in restored} == expected
    assert {key.removeprefix("data/files/md5/").replace("/", "") for key in bucket} == {
        version.digest,
        *(md5 for _, md5 in version.files),
    }


def test_an_object_lost_in_s3_is_named_and_mended_by_the_next_commit(project, on_s3, bucket, tmp_path):
    version = Versions(on_s3).commit(project, partitions(project))
    name, md5 = version.files[0]
    assert Versions(on_s3).absent(version) == ()
    del bucket[f"data/files/md5/{md5[:2]}/{md5[2:]}"]
    elsewhere = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "b"), "FULLCIRCLE_DVC_REMOTE": on_s3.dvc_remote})

    assert Versions(elsewhere).absent(version) == ((name, md5),)
    with pytest.raises(DataUnavailable, match=f"md5 {md5}"):
        Versions(elsewhere).restore(version, tmp_path / "out")
    Versions(on_s3).commit(project, partitions(project))

    assert len(Versions(elsewhere).restore(version, tmp_path / "out")) == 3


def test_an_s3_that_does_not_answer_is_one_line(project, on_s3, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DataUnavailable, match=r"the DVC remote s3://bucket/data failed .*FULLCIRCLE_DVC_REMOTE"):
        Versions(on_s3).commit(project, partitions(project))
