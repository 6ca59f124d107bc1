"""A click group that suggests the nearest commands for one that it does not have."""

from __future__ import annotations

import difflib

import click


class NearestGroup(click.Group):
    """Says "did you mean ...?" for a word that is no command of it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names. Raises click.UsageError with the nearest ones."""
        word, names = args[0], self.list_commands(ctx)
        if word in names or word.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(word, names, n=3)
        said = f"Did you mean {', '.join(near)}?" if near else f"There are {', '.join(names)}."
        raise click.UsageError(f"No such command {word!r}. {said}", ctx)
