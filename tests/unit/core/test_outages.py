"""What is away is waited for by whoever is patient, in one line, until it is back, the limit is reached or we are told
to stop."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from fullcircle.core.errors import Away, Preempted, TrackerAway, UsageError
from fullcircle.core.settings import Settings
from fullcircle.core.system.outages import Patience, impatient, is_patient, patient, wait_out


class Tracker:
    """Is away for so many asks."""

    def __init__(self, away: int, worth_s: float = 3600.0) -> None:
        self.away, self.asked, self.worth_s = away, 0, worth_s

    def ask(self) -> str:
        self.asked += 1
        if self.asked <= self.away:
            raise TrackerAway("no answer from there", whom="the tracker", why="refused", worth_s=self.worth_s)
        return "here"


def patience(said: list[str], limit_s: float = 3600.0) -> Patience:
    return Patience(limit_s=limit_s, say=said.append, kept="/home/x", setting="FULLCIRCLE_WAIT")


def test_nobody_waits_who_is_not_patient() -> None:
    tracker = Tracker(away=1)
    with pytest.raises(TrackerAway, match="no answer from there"):
        wait_out(tracker.ask)
    assert tracker.asked == 1


def test_the_patient_read_one_line_however_often_it_is_asked_and_another_when_it_is_back() -> None:
    said: list[str] = []
    with patient(patience(said)):
        assert wait_out(Tracker(away=2).ask) == "here"
    away, back = said
    assert away.startswith("the tracker is away since 20")
    assert away.endswith("(refused); everything is safe in /home/x; waiting for up to 60 min, Ctrl-C is safe")
    assert back.startswith("it answers again, after ")


def test_at_the_limit_the_error_says_where_all_is_and_nobody_waits_for_it_a_second_time() -> None:
    said: list[str] = []
    with patient(patience(said, limit_s=0.1)):
        with pytest.raises(TrackerAway, match=r"no answer from there, for 0 s; the same command .*/home/x; FULL.*WAIT"):
            wait_out(lambda: wait_out(Tracker(away=10**9).ask))
        assert not is_patient()
        tracker = Tracker(away=1)
        with pytest.raises(TrackerAway):
            wait_out(tracker.ask)
    assert (len(said), tracker.asked) == (1, 1)


def test_what_is_not_worth_waiting_for_for_long_is_given_up_sooner() -> None:
    with patient(patience([])), pytest.raises(TrackerAway, match="for 0 s"):
        wait_out(Tracker(away=10**9, worth_s=0.1).ask)


def test_a_limit_of_nothing_and_an_impatient_block_do_not_wait() -> None:
    for within in (patient(patience([], limit_s=0.0)), impatient()):
        with within, pytest.raises(Away):
            wait_out(Tracker(away=1).ask)


def test_other_errors_are_not_outlasted() -> None:
    def refuse() -> None:
        raise UsageError("wrong")

    with patient(patience([])), pytest.raises(UsageError):
        wait_out(refuse)


def test_sigterm_ends_the_wait_as_a_preemption_that_can_be_gone_on_with() -> None:
    program = """
from fullcircle.core.errors import Preempted, TrackerAway
from fullcircle.core.system.outages import Patience, patient, wait_out

def ask():
    print("asked", flush=True)
    raise TrackerAway("x", whom="the tracker", why="refused")

try:
    with patient(Patience(limit_s=3600, say=print, kept="k", setting="s")):
        wait_out(ask)
except Preempted as error:
    print(error)
    raise SystemExit(error.exit_code)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "asked\n" and lines.count(line) == 2:  # it has slept once, and listens from its first line on
            process.send_signal(signal.SIGTERM)
    assert process.wait() == Preempted.exit_code
    assert lines[-1] == "told to stop while the tracker was away (refused); the same command goes on\n"


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("0", 0), ("1h30m", 5400), ("", 86400), ("2", 2)])
def test_how_long_a_command_waits_is_a_setting(text: str, expected: float) -> None:
    assert Settings.from_env({"FULLCIRCLE_WAIT": text}).wait_s == expected


@pytest.mark.parametrize("text", ["long", "-1", "1d", "h"])
def test_a_wait_that_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="FULLCIRCLE_WAIT must be a span of time such as 90s"):
        Settings.from_env({"FULLCIRCLE_WAIT": text})
