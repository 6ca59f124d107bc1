"""A pointer and a list of files may come from elsewhere: they are checked before they are believed."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable
from fullcircle.data.dvc_pointers import folder_digest, folder_files

MD5 = "0123456789abcdef0123456789abcdef"


def listing(*names: str) -> tuple[bytes, str]:
    text = json.dumps([{"md5": MD5, "relpath": name} for name in names]).encode()
    return text, hashlib.md5(text).hexdigest() + ".dir"


def test_a_pointer_names_its_folder():
    assert folder_digest(f"outs:\n- md5: {MD5}.dir\n  path: flights\n") == f"{MD5}.dir"


@pytest.mark.parametrize(
    "text",
    ["", "outs: []", "[1, 2]", "outs:\n- path: x", f"outs:\n- md5: {MD5}\n", "outs:\n- md5: ../x.dir", "a: b: c"],
)
def test_a_text_that_points_at_no_folder_is_refused(text):
    with pytest.raises(DataUnavailable, match="pointer"):
        folder_digest(text)


def test_files_come_sorted():
    assert folder_files(*listing("b.parquet", "a.parquet")) == (("a.parquet", MD5), ("b.parquet", MD5))


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "a/../../x", "", "..", "a\\..\\b"])
def test_a_file_that_would_lead_out_of_the_folder_is_refused(name):
    with pytest.raises(DataUnavailable, match="refused its file"):
        folder_files(*listing(name))


@given(name=st.text(min_size=1, max_size=12))
def test_what_is_let_through_stays_in_the_folder(name):
    try:
        ((kept, _),) = folder_files(*listing(name))
    except DataUnavailable:
        return
    assert ".." not in PurePosixPath(kept).parts
    assert not PurePosixPath(kept).is_absolute()


def test_a_list_that_was_changed_is_refused_with_its_hash():
    text, digest = listing("a.parquet")
    changed = text.replace(b"a.parquet", b"b.parquet")
    with pytest.raises(DataUnavailable, match=f"its hash is {hashlib.md5(changed).hexdigest()}"):
        folder_files(changed, digest)
