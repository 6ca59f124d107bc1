"""Lines on standard output and standard error: what they tell may come from outside, and stays one line."""

from __future__ import annotations

import click

from fullcircle.core.security.untrusted import visible


def say(text: str, *, err: bool = False, keep: str = "") -> None:
    """Print the text with its escape codes and its hidden characters spelled out.

    Args:
        err: on standard error.
        keep: as in `visible`; a newline for a text of several lines that are ours.
    """
    click.echo(visible(text, keep=keep), err=err)
