"""What a payload of the spool says comes back as it was; spools from before are read as they are."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import SpoolTooNew
from fullcircle.core.framed_log.frames import read
from fullcircle.core.framed_log.layout import End
from fullcircle.tracking.spool.spool_file import KIND, Points, Status, Tags, decode, encode, packed

OLD = (Path(__file__).parents[2] / "fixtures" / "logs-0.1.0" / "main.spool").read_bytes()


def test_a_spool_from_before_the_framed_format_is_read_and_can_be_sent_from_any_entry_on(tmp_path: Path) -> None:
    (tmp_path / "main.spool").write_bytes(OLD)
    found = read(tmp_path / "main.spool", KIND, skip=False)
    said = [decode(payload) for payload, _ in found.payloads]
    points = [(key, value, step) for each in said if isinstance(each, Points) for key, value, _, step in each.points()]
    told = [{"loss": 1 / step, "norm": 2.0 * step} for step in range(1, 7)]
    assert points == [(key, value, step) for step, each in enumerate(told, start=1) for key, value in each.items()]
    assert [each for each in said if not isinstance(each, Points)] == [Tags({"half": "way"}), Status("FINISHED", 5)]
    assert found.end is End.WHOLE
    for skipped, (_, offset) in enumerate(found.payloads, start=1):
        rest = read(tmp_path / "main.spool", KIND, offset, skip=False)
        assert [decode(payload) for payload, _ in rest.payloads] == said[skipped:]


@given(at=st.integers(0, len(OLD) - 1), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_in_a_spool_from_before_costs_what_is_behind_it_and_changes_nothing_in_front(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int, cut: bool
) -> None:
    file = tmp_path_factory.mktemp("old") / "main.spool"
    file.write_bytes(OLD)
    whole = list(read(file, KIND).payloads)
    file.write_bytes(OLD[:at] if cut else OLD[:at] + bytes([OLD[at] ^ (1 << bit)]) + OLD[at + 1 :])
    seen = read(file, KIND)
    assert list(seen.payloads) == [(payload, offset) for payload, offset in whole if offset <= at]
    assert (seen.end is End.WHOLE) == (cut and at in (0, 12, *(offset for _, offset in whole)))


ROWS = st.lists(
    st.tuples(
        st.dictionaries(st.text(max_size=20), st.floats(allow_nan=False), max_size=9),
        st.integers(0, 2**43),
        st.integers(-(2**63), 2**63 - 1),
    )
)
TrainingLogger = list[tuple[dict[str, float], int, int]]


def flat(rows: TrainingLogger) -> list[tuple[str, float, int, int]]:
    return [(key, value, at_ms, step) for values, at_ms, step in rows for key, value in values.items()]


@given(rows=ROWS)
def test_points_come_back_to_the_last_bit(rows: TrainingLogger) -> None:
    points = decode(encode(Points.of((*packed(values), at_ms, step) for values, at_ms, step in rows)))
    assert isinstance(points, Points)
    assert points.points() == flat(rows)
    assert len(points) == len(flat(rows))


@given(rows=ROWS)
def test_points_that_were_written_before_they_were_packed_are_read(rows: TrainingLogger) -> None:
    points = decode(msgspec.msgpack.encode(("points", rows)))
    assert isinstance(points, Points)
    assert points.points() == flat(rows)


def test_an_entry_that_this_version_does_not_know_is_refused() -> None:
    with pytest.raises(SpoolTooNew, match="an entry that this version does not know"):
        decode(b"\x92\xa5later\x01")
