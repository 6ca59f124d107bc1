"""Whatever happens to a framed log, what is read from it was written, and what is not read is named."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import FormatTooNew
from fullcircle.core.framed_log.frames import FrameWriter, read, scan
from fullcircle.core.framed_log.layout import HEAD_BYTES, LONGEST, VERSION, End, FileKind

KIND = FileKind(magic=b"fctt")
FRAME_BYTES = 12
"""Marker, length and checksum of a frame."""
payloads = st.lists(st.binary(max_size=200), max_size=12)
some_payloads = st.lists(st.binary(max_size=200), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("framed") / "a.log"


def written(file: Path, payloads: list[bytes]) -> bytes:
    file.unlink(missing_ok=True)
    writer = FrameWriter(file, KIND)
    writer.append(*payloads)
    writer.close()
    return file.read_bytes()


def ends(payloads: list[bytes]) -> list[int]:
    return list(itertools.accumulate((FRAME_BYTES + len(payload) for payload in payloads), initial=HEAD_BYTES))


def texts(file: Path, offset: int = 0) -> list[bytes]:
    return [payload for payload, _ in read(file, KIND, offset).payloads]


@given(payloads=payloads)
def test_what_was_written_is_read_in_order_from_any_frame_on(file: Path, payloads: list[bytes]) -> None:
    written(file, payloads)
    whole = read(file, KIND)
    assert ([payload for payload, _ in whole.payloads], whole.end, whole.gaps) == (payloads, End.WHOLE, [])
    for skipped, (_, offset) in enumerate(whole.payloads, start=1):
        assert texts(file, offset) == payloads[skipped:]


@given(payloads=payloads, data=st.data())
def test_a_cut_file_gives_the_frames_before_the_cut_and_is_gone_on_with_behind_them(
    file: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    whole = written(file, payloads)
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    good = payloads[: sum(end <= cut for end in ends(payloads)[1:])]
    seen = read(file, KIND)
    assert [payload for payload, _ in seen.payloads] == good
    assert (seen.end is End.WHOLE) == (cut in (0, *ends(payloads)))
    assert seen.end is not End.DAMAGED
    again = FrameWriter(file, KIND, resume=True)
    again.append(b"later")
    again.close()
    seen = read(file, KIND)
    assert ([payload for payload, _ in seen.payloads], seen.end, seen.gaps) == ([*good, b"later"], End.WHOLE, [])


@given(payloads=some_payloads, data=st.data())
def test_a_flipped_bit_costs_its_frame_alone_is_named_and_changes_no_other(
    file: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    whole = bytearray(written(file, payloads))
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    whole[at] ^= 1 << bit
    file.write_bytes(whole)
    bounds = [0, *ends(payloads)]
    hit = sum(bound <= at for bound in bounds) - 1  # 0: the head
    left = [payload for number, payload in enumerate(payloads, start=1) if number != hit]
    seen = read(file, KIND)
    assert [payload for payload, _ in seen.payloads] == left
    if hit == len(payloads):
        assert (seen.end is not End.WHOLE, seen.offset) == (True, bounds[hit])
    else:
        assert (seen.end, seen.gaps) == (End.WHOLE, [(bounds[hit], bounds[hit + 1])])
    strict = read(file, KIND, skip=False)
    assert [payload for payload, _ in strict.payloads] == payloads[: max(hit - 1, 0)]
    assert strict.end is not End.WHOLE
    again = FrameWriter(file, KIND, resume=True)  # damage stays, and costs nothing of what comes behind it
    again.append(b"later")
    again.close()
    assert texts(file) == [*left, b"later"]


@given(payloads=payloads, data=st.data())
def test_bytes_in_the_middle_that_are_no_frames_are_passed_over_and_named(
    file: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    whole = written(file, payloads)
    at = data.draw(st.sampled_from(ends(payloads)[:-1] or [HEAD_BYTES]))
    junk = data.draw(st.binary(min_size=1, max_size=60))
    file.write_bytes(whole[:at] + junk + whole[at:])
    seen = read(file, KIND)
    assert [payload for payload, _ in seen.payloads] == payloads
    assert list(seen.gaps) == ([(at, at + len(junk))] if payloads else [])


def test_a_frame_that_a_payload_holds_is_no_frame_when_what_is_around_it_is_damaged(file: Path, tmp_path: Path) -> None:
    forged = written(tmp_path / "other.log", [b"forged"])[HEAD_BYTES:]
    whole = bytearray(written(file, [b"a", b"<" + forged + b">", b"b"]))
    whole[ends([b"a"])[-1] + 4] ^= 255  # the length
    file.write_bytes(whole)
    assert texts(file) == [b"a", b"b"]


def test_a_tail_of_zero_bytes_is_no_frame(file: Path) -> None:
    file.write_bytes(written(file, [b"a"]) + bytes(64))
    seen = read(file, KIND)
    assert ([payload for payload, _ in seen.payloads], seen.end) == ([b"a"], End.DAMAGED)


def test_a_file_of_a_newer_version_is_refused_and_not_changed(file: Path) -> None:
    data = bytearray(written(file, [b"a"]))
    data[4] = VERSION + 1
    data[8:12] = zlib.crc32(data[:8]).to_bytes(4, "little")
    file.write_bytes(data)
    with pytest.raises(FormatTooNew, match=f"has format {VERSION + 1} and this version reads up to {VERSION}"):
        read(file, KIND)
    with pytest.raises(FormatTooNew, match="nothing of it was changed"):
        FrameWriter(file, KIND, resume=True)
    assert file.read_bytes() == data


def test_an_absurd_length_is_not_read_into_memory(file: Path) -> None:
    whole = written(file, [b"a"])
    marker = whole[HEAD_BYTES : HEAD_BYTES + 4]
    file.write_bytes(whole + marker + (LONGEST + 1).to_bytes(4, "little") + bytes(4))
    assert read(file, KIND).end is End.DAMAGED
    file.write_bytes(whole + marker + LONGEST.to_bytes(4, "little") + bytes(4))
    assert read(file, KIND).end is End.TORN


def test_a_file_is_its_owners_alone_and_has_one_writer_unless_it_is_gone_on_with(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FrameWriter(tmp_path / "a.log", KIND).close()
    finally:
        os.umask(before)
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        FrameWriter(tmp_path / "a.log", KIND)
    (tmp_path / "notes.txt").write_text("not ours, and long enough for a head")
    with pytest.raises(FileExistsError, match="is no log that can be gone on with"):
        FrameWriter(tmp_path / "notes.txt", KIND, resume=True)
    assert (tmp_path / "notes.txt").read_text().startswith("not ours")


def test_two_that_go_on_with_one_file_lose_and_tear_no_frame(tmp_path: Path) -> None:
    one, two = (FrameWriter(tmp_path / "a.log", KIND, resume=True) for _ in range(2))
    for number in range(50):
        one.append(b"one %d" % number)
        two.append(b"two %d" % number)
    expected = [b"%s %d" % (name, number) for number in range(50) for name in (b"one", b"two")]
    assert texts(tmp_path / "a.log") == expected


def test_a_full_disk_takes_nothing_or_all_of_what_is_appended_at_once(tmp_path: Path) -> None:
    program = f"""
        import resource
        from pathlib import Path
        from fullcircle.core.framed_log.layout import FileKind
        from fullcircle.core.framed_log.frames import FrameWriter
        writer = FrameWriter(Path({str(tmp_path)!r}) / "a.log", FileKind(magic=b"fctt"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
        taken = 0
        for number in range(40):
            try:
                writer.append(b"first %d" % number, b"second %d" % number)
                taken += 1
            except OSError:
                assert not writer.torn
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        writer.append(b"at last")
        print(taken)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    taken = int(done.stdout)
    assert 0 < taken < 40
    pairs = [b"%s %d" % (name, number) for number in range(taken) for name in (b"first", b"second")]
    assert texts(tmp_path / "a.log") == [*pairs, b"at last"]


def test_a_long_file_is_read_a_piece_at_a_time_also_across_damage(tmp_path: Path) -> None:
    payloads = [bytes([number]) * 300_000 for number in range(40)]
    whole = bytearray(written(tmp_path / "a.log", payloads))
    whole[ends(payloads)[20] + 50] ^= 1
    (tmp_path / "a.log").write_bytes(whole)
    pieces = list(scan(tmp_path / "a.log", KIND))
    assert len(pieces) > 2
    assert [payload for piece in pieces for payload, _ in piece.payloads] == payloads[:20] + payloads[21:]
    assert [gap for piece in pieces for gap in piece.gaps] == [tuple(ends(payloads)[20:22])]
