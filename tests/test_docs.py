"""The documentation names what exists: commands, flags, methods, pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml
from documented import FENCE, PAGES, ROOT, commands, words

from weakstrong.analyses import ANALYSES
from weakstrong.cli.app import app
from weakstrong.executors.base import EXECUTORS
from weakstrong.methods import METHODS
from weakstrong.tasks import TASKS
from weakstrong.trackers import TRACKERS

HISTORY = ("log.md",)
"""Dated pages, which keep the words of their day."""
NAMES = {
    "--method": METHODS,
    "--analysis": ANALYSES,
    "--executor": EXECUTORS,
    "--task": TASKS,
    "--tracker": TRACKERS,
}
PLACEHOLDER = re.compile(r"^[A-Z_]+$|…|^\$")
OTHER_PROGRAMS = {"--nproc-per-node", "--standalone", "--backend-store-uri", "--logdir", "--project", "--kills",
    "--victim", "--small", "--strict"}  # fmt: skip
"""Flags of torchrun, mlflow, tensorboard, trackio, mkdocs and the scripts in benchmarks/."""


def find(command: list[str]) -> tuple[Any, list[str]]:
    """The command of the parser that words name, and the words behind it.

    Raises:
        LookupError: if there is no such command.
    """
    found: Any = typer.main.get_command(app)
    rest = command[1:]
    while hasattr(found, "commands") and rest and not rest[0].startswith("-"):
        name, *rest = rest
        if name not in found.commands:
            raise LookupError(f"there is no command {name!r} of {sorted(found.commands)}")
        found = found.commands[name]
    return found, rest


def flags_of(command: Any) -> dict[str, Any]:
    """Its parameters by every spelling."""
    return {
        o: p for p in command.params for o in (*p.opts, *p.secondary_opts) if isinstance(p, click.Option)
        or getattr(p, "param_type_name", "") == "option"
    } | {"--help": None, "-h": None}  # fmt: skip


def complaints(command: str) -> list[str]:
    """What a command line names that does not exist."""
    # In prose several commands may share a line: `w2s plan | results`.
    command = re.sub(r"\s*\|.*", "", command)
    try:
        parser, rest = find(words(command))
    except LookupError as error:
        return [] if PLACEHOLDER.search(words(command)[1]) else [str(error)]
    known, out = flags_of(parser), []
    for i, word in enumerate(rest):
        flag, _, value = word.partition("=")
        if not re.match(r"^--?[a-z]", flag):
            continue
        if flag not in known:
            out.append(f"there is no flag {flag}")
        elif flag in NAMES:
            value = value or (rest[i + 1] if i + 1 < len(rest) else "")
            out += unknown_names(flag, value)
    return out


def unknown_names(flag: str, value: str) -> list[str]:
    """Which entries of a registry that a flag's value names do not exist."""
    bare = [
        re.split(r"[:]", part)[0] for part in re.split(r"[+,]", value) if "=" not in re.split(":", part)[0]
    ]
    return [
        f"{flag}: {NAMES[flag].noun} {name!r} does not exist"
        for name in bare
        if name
        and not PLACEHOLDER.search(name)
        and not name.endswith(".py")
        and name not in (*NAMES[flag].names(), "file")
    ]


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in HISTORY], ids=lambda p: p.name)
def test_every_command_flag_and_name_in_the_documentation_exists(page: Path) -> None:
    """A flag that was renamed, a method that was removed, a command that never was: the reader's first error."""
    assert [(c, found) for c in commands(page) if (found := complaints(c))] == []


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in HISTORY], ids=lambda p: p.name)
def test_every_flag_in_prose_exists(page: Path) -> None:
    """Flags are also named without their command."""
    known = set(OTHER_PROGRAMS)
    waiting = [typer.main.get_command(app)]
    while waiting:
        one: Any = waiting.pop()
        waiting += getattr(one, "commands", {}).values()
        known |= set(flags_of(one))
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    spoken = [
        flag
        for code in re.findall(r"`([^`\n]+)`", prose)
        for flag in re.findall(r"(?<!\S)--[a-z][\w-]*", code)
    ]
    assert [flag for flag in spoken if flag not in known] == []


@pytest.mark.parametrize(
    ("command", "words_wanted"),
    [
        ("w2s runn", "no command 'runn'"),
        ("w2s store fsck", "no command 'fsck'"),
        ("w2s run --metod naive", "no flag --metod"),
        ("w2s run --method naive+confidense:a_max=1,warmup=2", "method 'confidense' does not exist"),
        ("w2s run --executor slum:partition=gpu,minutes=3", "executor 'slum' does not exist"),
    ],
)
def test_what_does_not_exist_is_found(command: str, words_wanted: str) -> None:
    """A check that lets everything pass."""
    (found,) = complaints(command)
    assert words_wanted in found


def test_commands_are_found_in_blocks_and_in_prose(tmp_path: Path) -> None:
    """A check that reads nothing."""
    page = tmp_path / "page.md"
    page.write_text("Use `w2s plan` or\n\n```sh\npip install x && w2s run \\\n  --seeds 2   # twice\n```\n")
    assert [words(c) for c in commands(page)] == [["w2s", "run", "--seeds", "2"], ["w2s", "plan"]]


def navigated() -> set[str]:
    """Pages in the site's nav."""

    def leaves(node: Any) -> set[str]:
        if isinstance(node, str):
            return {node}
        values = node.values() if isinstance(node, dict) else node
        return set().union(*map(leaves, values))

    return leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])


def test_every_page_is_in_the_nav() -> None:
    """A page that nobody finds; the strict build says so too, but later."""
    there = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert navigated() == there


def test_links_of_the_readme_lead_somewhere() -> None:
    """The site's strict build does not read the README."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert inside
    assert [link for link in inside if not (ROOT / link).is_file()] == []
