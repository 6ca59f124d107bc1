"""What integration tests of several rooms share: an S3 on loopback, which is moto's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest


class Bucket(MutableMapping[str, bytes]):
    """The objects of one bucket by their keys, asked for over HTTP like anybody would.

    Args:
        client: a boto3 client of the server.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name

    def __getitem__(self, key: str) -> bytes:
        try:
            body: bytes = self._client.get_object(Bucket=self._name, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            raise KeyError(key) from None
        return body

    def __setitem__(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self._name, Key=key, Body=body)

    def __delitem__(self, key: str) -> None:
        self._client.delete_object(Bucket=self._name, Key=key)

    def __iter__(self) -> Iterator[str]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name):
            yield from (found["Key"] for found in page.get("Contents", ()))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """The port of a moto server, which forgets what it held when it is asked to."""
    if importlib.util.find_spec("dvc_s3") is None:
        pytest.skip("needs the extra 's3'")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """The empty bucket "bucket", at the address that AWS_ENDPOINT_URL gives to every client."""
    import boto3
    import httpx

    _credentials(monkeypatch, s3_port)
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield Bucket(client, "bucket")
    client.close()
    httpx.post(f"http://127.0.0.1:{s3_port}/moto-api/reset", trust_env=False).raise_for_status()


def _credentials(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
