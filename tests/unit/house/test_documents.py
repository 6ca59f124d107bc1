"""What the documents say is so: their commands exist, their links lead somewhere, and CI runs what they promise."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

FENCE = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (?!  )(.+)$", re.MULTILINE)
COMMAND = re.compile(r"(?:^|[;|&(] ?|if )fullcircle ([a-z][^;|&)]*)")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
REGISTRIES = ("pypi" + ".org", "python" + "hosted", "download.py" + "torch", "conda." + "anaconda", "test." + "pypi")


@pytest.fixture(scope="session")
def documents(repository: Path) -> list[Path]:
    kept = [*repository.glob("*.md"), *repository.glob("docs/**/*.md"), *repository.glob("projects/**/*.md")]
    templates = repository / "platform/src/fullcircle/scaffold/templates"
    return sorted([*kept, *templates.glob("*.md.tmpl")])


def test_the_readme_promises_what_ci_runs(repository: Path) -> None:
    readme, makefile = (repository / "README.md").read_text(), (repository / "Makefile").read_text()
    assert re.search(r"^ *make test\b", readme, re.MULTILINE)
    assert re.search(r"^ *make demo\b", readme, re.MULTILINE)
    assert re.search(r"^make test$", (repository / ".ci" / "run").read_text(), re.MULTILINE)
    for target in set(re.findall(r"\bmake ([a-z]+)\b(?=`|$| +#)", readme, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the README says 'make {target}'"


def test_every_fullcircle_command_in_the_documents_exists_with_its_options(documents: list[Path]) -> None:
    from fullcircle.cli import fullcircle

    seen = 0
    for path in documents:
        for command in commands(path.read_text()):
            parses(fullcircle, shlex.split(command), f"{path.name}: fullcircle {command}")
            seen += 1
    assert seen > 20


def test_the_example_of_every_command_is_one_line_that_can_be_pasted() -> None:
    """On a terminal of 80 columns a longer one is broken in two, which a shell takes for two commands."""
    from fullcircle.cli import fullcircle

    seen = 0
    for path, command in every_command(fullcircle, "fullcircle"):
        if isinstance(command, click.Group):
            continue
        line = next(line for line in command.get_help(click.Context(command)).splitlines() if "Example: " in line)
        assert line.strip() == command.epilog, f"{path}: its example is broken in two"
        example = line.strip().removeprefix("Example: fullcircle ").split(" && ")[0]
        assert f"fullcircle {example}".startswith(path), f"{path} shows an example of another command"
        parses(fullcircle, shlex.split(example), f"{path} --help")
        seen += 1
    assert seen > 20


def every_command(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """The command, and those below it, with the words that call them."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from every_command(below, f"{path} {name}")


def commands(text: str) -> list[str]:
    """What follows `fullcircle` in the shell blocks of a document."""
    blocks = [line for block in FENCE.findall(text) for line in block.splitlines()]
    lines = [line.split(" #")[0].replace("$name", "name") for line in [*blocks, *INDENTED.findall(text)]]
    return [words for line in lines for words in COMMAND.findall(line)]


def parses(group: click.Group, words: list[str], where: str) -> None:
    """Fail unless click knows the command and takes the words."""
    context = click.Context(group)
    while words and isinstance(group, click.Group):
        command = group.get_command(context, words[0])
        assert command is not None, f"{where}: no command {words[0]!r}"
        if not isinstance(command, click.Group):
            try:
                command.make_context(words[0], words[1:], resilient_parsing=False)
            except click.exceptions.Exit:
                pass
            except click.UsageError as error:
                if "does not exist" not in error.message:  # a path of an example
                    pytest.fail(f"{where}: {error.message}")
            return
        group, words = command, words[1:]


def test_every_relative_link_leads_to_a_file(documents: list[Path]) -> None:
    dead = []
    for path in documents:
        for target in LINK.findall(path.read_text()):
            if not (path.parent / target).exists():
                dead.append(f"{path.name} -> {target}")
    assert dead == []


def test_decisions_are_numbered_once_each_and_say_context_decision_and_consequences(repository: Path) -> None:
    records = sorted((repository / "docs" / "adr").glob("[0-9]*.md"))
    numbers = [path.name[:4] for path in records]
    assert len(numbers) == len(set(numbers))
    for path in records:
        text = path.read_text()
        for part in ("## Context", "## Decision", "## Consequences"):
            assert part in text, f"{path.name} has no {part!r}"


def test_no_tracked_file_names_a_package_registry(repository: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        path = repository / name
        if path.is_file() and path.suffix not in (".png", ".parquet"):
            text = path.read_text(errors="replace")
            assert [host for host in REGISTRIES if host in text] == [], f"{name} names a registry"


def test_contributors_are_told_what_every_folder_is_for(repository: Path) -> None:
    told = re.findall(r"^\| `([^`]+)` \|", (repository / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert [name for name in told if not (repository / name.partition("<")[0]).is_dir()] == []
    listed = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    ours = {re.match(r"(?:tests/)?[^/.]+(?=/)", path) for path in listed.stdout.splitlines()}
    assert {each.group() for each in ours if each} <= {re.sub(r"/(<|src).*", "", name) for name in told}


def test_operators_are_told_what_every_folder_of_the_home_is_for(repository: Path) -> None:
    written = re.compile(r'settings\.(?:folder\(|home / )"([\w-]+)"')
    sources = [path.read_text() for path in (repository / "platform").rglob("*.py")]
    made = {name for source in sources for name in written.findall(source)}
    assert {"spool", "jobs", "predictions"} <= made, "it looks for what is not written like that any more"
    table = (repository / "docs" / "operating.md").read_text().partition("| in the home |")[2].partition("\n\n")[0]
    assert sorted(made - set(re.findall(r"`([\w.-]+)/?`", table))) == []
