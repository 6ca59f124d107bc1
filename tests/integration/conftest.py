"""What integration tests of several rooms share: a small S3 on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest


class _Bucket(BaseHTTPRequestHandler):
    """As much of S3 as storing, looking at, listing and fetching objects of one bucket takes."""

    objects: dict[str, bytes]
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None: ...

    def _answer(self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket").lstrip("/")

    def _stored(self, *, with_body: bool) -> None:
        body = self.objects.get(self._key())
        if body is None:
            error = b"<Error><Code>NoSuchKey</Code></Error>" if with_body else b""
            self._answer(404, error)
            return
        headers = {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "Last_Modified": formatdate(usegmt=True)}
        status, wanted = 200, self.headers.get("Range", "")
        if wanted:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            whole, body = len(body), body[int(first) : int(last) + 1 if last else None]
            status, headers["Content_Range"] = 206, f"bytes {first}-{int(first) + len(body) - 1}/{whole}"
        self._answer(status, body if with_body else b"", length=len(body), **headers)

    def do_HEAD(self) -> None:
        if self._key():
            self._stored(with_body=False)
        else:
            self._answer(200)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if self._key() and "list-type" not in query:
            self._stored(with_body=True)
            return
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        inside = {key: key.removeprefix(prefix) for key in self.objects if key.startswith(prefix)}
        folders = {rest.partition("/")[0] for rest in inside.values() if delimiter and "/" in rest}
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(prefix + name)}/</Prefix></CommonPrefixes>" for name in folders
        )
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><ETag>&quot;x&quot;</ETag>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, body in sorted(self.objects.items())
            if key in inside and not (delimiter and "/" in inside[key])
        )
        listing = (
            f"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>{found}{common}</ListBucketResult>"
        )
        self._answer(200, listing.encode(), Content_Type="application/xml")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.objects[self._key()] = body
        self._answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_DELETE(self) -> None:
        self.objects.pop(self._key(), None)
        self._answer(204)

    def do_POST(self) -> None:  # ?delete: several at once
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        for key in [part.split("</Key>")[0] for part in text.split("<Key>")[1:]]:
            self.objects.pop(key, None)
        self._answer(200, b"<DeleteResult></DeleteResult>", Content_Type="application/xml")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    objects: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Bucket,), {"objects": objects}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    _credentials(monkeypatch, server.server_address[1])
    yield objects  # of the bucket "bucket"
    server.shutdown()
    server.server_close()


def _credentials(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
