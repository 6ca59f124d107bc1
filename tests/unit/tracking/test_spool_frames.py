"""Whatever happens to a spool file, what is read from it is the beginning of what was written."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import SpoolTooNew
from fullcircle.tracking.spool.entries import Points, decode, encode, packed
from fullcircle.tracking.spool.frames import HEAD_BYTES, LONGEST, VERSION, End, frame, head, read

payloads = st.lists(st.binary(max_size=200), max_size=12)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool") / "main.spool"


def written(file: Path, payloads: list[bytes]) -> bytes:
    data = head() + b"".join(frame(payload) for payload in payloads)
    file.write_bytes(data)
    return data


@given(payloads=payloads)
def test_what_was_written_is_read_in_order_from_any_frame_on(file: Path, payloads: list[bytes]) -> None:
    written(file, payloads)
    whole = read(file)
    assert ([payload for payload, _ in whole.payloads], whole.end) == (payloads, End.WHOLE)
    for skipped, (_, offset) in enumerate(whole.payloads, start=1):
        assert [payload for payload, _ in read(file, offset).payloads] == payloads[skipped:]


@given(payloads=payloads, data=st.data())
def test_a_cut_file_gives_the_frames_before_the_cut(file: Path, payloads: list[bytes], data: st.DataObject) -> None:
    whole = written(file, payloads)
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    ends = list(itertools.accumulate((len(frame(payload)) for payload in payloads), initial=HEAD_BYTES))
    good = sum(end <= cut for end in ends[1:])
    seen = read(file)
    assert [payload for payload, _ in seen.payloads] == payloads[:good]
    assert (seen.end is End.WHOLE) == (cut in (0, *ends))


@given(payloads=st.lists(st.binary(max_size=200), min_size=1, max_size=12), data=st.data())
def test_a_flipped_bit_gives_the_frames_before_it_and_never_a_changed_one(
    file: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    whole = bytearray(written(file, payloads))
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    whole[at] ^= 1 << bit
    file.write_bytes(whole)
    ends = itertools.accumulate((len(frame(payload)) for payload in payloads), initial=HEAD_BYTES)
    good = sum(end <= at for end in list(ends)[1:])
    seen = read(file)
    assert [payload for payload, _ in seen.payloads] == payloads[:good]
    assert seen.end is not End.WHOLE


def test_a_tail_of_zero_bytes_is_no_frame(file: Path) -> None:
    file.write_bytes(written(file, [b"a"]) + bytes(64))
    seen = read(file)
    assert ([payload for payload, _ in seen.payloads], seen.end) == ([b"a"], End.DAMAGED)


def test_a_file_of_a_newer_version_is_refused_and_not_changed(file: Path) -> None:
    data = head(VERSION + 1) + frame(b"a")
    file.write_bytes(data)
    with pytest.raises(SpoolTooNew, match=f"has format {VERSION + 1} and this version reads up to {VERSION}"):
        read(file)
    assert file.read_bytes() == data


def test_an_absurd_length_is_refused_by_the_writer_and_not_read_into_memory(file: Path) -> None:
    with pytest.raises(ValueError, match="a frame holds at most"):
        frame(bytes(LONGEST + 1))
    file.write_bytes(head() + b"\xff\xff\xff\xff" + bytes(4))
    assert read(file).end is End.DAMAGED


ROWS = st.lists(
    st.tuples(
        st.dictionaries(st.text(max_size=20), st.floats(allow_nan=False), max_size=9),
        st.integers(0, 2**43),
        st.integers(-(2**63), 2**63 - 1),
    )
)
Told = list[tuple[dict[str, float], int, int]]


def flat(rows: Told) -> list[tuple[str, float, int, int]]:
    return [(key, value, at_ms, step) for values, at_ms, step in rows for key, value in values.items()]


@given(rows=ROWS)
def test_points_come_back_to_the_last_bit(rows: Told) -> None:
    points = decode(encode(Points.of((*packed(values), at_ms, step) for values, at_ms, step in rows)))
    assert isinstance(points, Points)
    assert points.points() == flat(rows)
    assert len(points) == len(flat(rows))


@given(rows=ROWS)
def test_points_that_were_written_before_they_were_packed_are_read(rows: Told) -> None:
    points = decode(msgspec.msgpack.encode(("points", rows)))
    assert isinstance(points, Points)
    assert points.points() == flat(rows)


def test_an_entry_that_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(SpoolTooNew, match="an entry that this version does not know"):
        decode(b"\x92\xa5later\x01")
