"""The command line, thin: words in, a use case of loop/ called, a table or JSON out.

Nothing heavy is imported here or when `--help` is shown; each command imports what it needs when it runs.
Exit codes: 0 fine, 1 the check failed, 2 wrong usage, 75 told to stop and resumable, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import io
import logging
import sys

import click

from fullcircle.cli.nearest_group import NearestGroup
from fullcircle.cli.output.lines import say
from fullcircle.core.errors import FullcircleError
from fullcircle.core.security.untrusted import LineFormatter
from fullcircle.core.settings import Settings, home_unwritable, quiet_dependencies, without_effect
from fullcircle.core.system.disks import disk_trouble
from fullcircle.tracking.connection.connectivity import user_is_waiting

SECTIONS = {
    "demo": "fullcircle.cli.projects",
    "new": "fullcircle.cli.projects",
    "run": "fullcircle.cli.projects",
    "train": "fullcircle.cli.train",
    "tune": "fullcircle.cli.tune",
    "reproduce": "fullcircle.cli.reproduce",
    "replay": "fullcircle.cli.projects",
    "data": "fullcircle.cli.data",
    "serve": "fullcircle.cli.operate",
    "ui": "fullcircle.cli.operate",
    "tensorboard": "fullcircle.cli.train",
    "watch": "fullcircle.cli.operate",
    "promote": "fullcircle.cli.ledger",
    "approve": "fullcircle.cli.ledger",
    "reject": "fullcircle.cli.ledger",
    "rollback": "fullcircle.cli.operate",
    "who": "fullcircle.cli.ledger",
    "ledger": "fullcircle.cli.ledger",
    "trace": "fullcircle.cli.lineage",
    "impact": "fullcircle.cli.lineage",
    "incidents": "fullcircle.cli.incidents",
    "status": "fullcircle.cli.operate",
    "sync": "fullcircle.cli.operate",
    "schedule": "fullcircle.cli.operate",
    "backup": "fullcircle.cli.home",
    "restore": "fullcircle.cli.home",
}


class Commands(NearestGroup):
    """A group whose commands are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the circle, not of the alphabet."""
        return list(SECTIONS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module. None for an unknown name."""
        if cmd_name not in SECTIONS:
            return None
        import importlib

        command = getattr(importlib.import_module(SECTIONS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: fullcircle new my-project && fullcircle run my-project",
)
@click.version_option(package_name="fullcircle", message="%(prog)s %(version)s")
def fullcircle() -> None:
    """Experiment tracking that closes the whole circle.

    Version, check, split, train, judge, explain, export, release, serve, watch, decide - and retrain.
    All that is written lives under FULLCIRCLE_HOME (default .fullcircle/); no telemetry leaves this machine.
    """


def main() -> None:
    """Run the command line; one clear line for an error, never a traceback for what a user can mend."""
    quiet_dependencies()
    if logging.lastResort is not None:  # it prints the warnings of a program that has set up no log
        logging.lastResort.setFormatter(LineFormatter())
    if isinstance(sys.stdout, io.TextIOWrapper):  # a sign that the terminal does not have must not end a command
        sys.stdout.reconfigure(errors="replace")
    for warning in without_effect():
        say(f"fullcircle: {warning}", err=True)
    try:
        with user_is_waiting():
            code = fullcircle.main(standalone_mode=False)
        if isinstance(code, int) and code:  # click hands an Exit of a command back as a value
            sys.exit(code)
    except click.Abort:
        sys.exit(_say("stopped", "what was finished is kept; the same command goes on from there", 130))
    except KeyboardInterrupt:
        sys.exit(_say("stopped", "what was finished is kept; the same command goes on from there", 130))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FullcircleError as error:
        sys.exit(_say(error.what, error.hint, error.exit_code, error))
    except Exception as error:
        if (disk := disk_trouble(error)) is None:
            raise
        refused = home_unwritable(Settings.from_env().home, disk)
        sys.exit(_say(refused.what, refused.hint, refused.exit_code))


def _say(what: str, hint: str, code: int, error: FullcircleError | None = None) -> int:
    kind = type(error).__name__ if error else "fullcircle"
    say(f"{kind}: {what}", err=True)
    if hint:
        say(f"  -> {hint}", err=True)
    return code
