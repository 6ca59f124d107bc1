"""Ctrl-C at moments that must not be cut in two."""

from __future__ import annotations

import signal
import threading

import pytest

from fullcircle.core.system.interrupts import defer_sigint


def test_ctrl_c_pressed_twice_is_heard_once_when_the_block_is_done() -> None:
    done = []

    def pressed_twice() -> None:
        with defer_sigint():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        pressed_twice()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_block_that_fails_meanwhile_is_still_interrupted_and_shows_how_it_failed() -> None:
    def fails() -> None:
        with defer_sigint():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("in the block")

    with pytest.raises(KeyboardInterrupt) as interrupted:
        fails()
    assert isinstance(interrupted.value.__context__, ValueError)


def test_who_ignores_ctrl_c_goes_on_to_ignore_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with defer_sigint():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_changes_no_handler() -> None:
    seen = []

    def look() -> None:
        with defer_sigint():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
