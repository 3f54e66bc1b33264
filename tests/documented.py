"""What tests of the documentation share: its pages, their blocks of code, and the commands that they name."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import weakstrong

ROOT = Path(weakstrong.__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)\s*$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title, and its text."""

    language: str
    title: str
    body: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        title = re.search(r'title="([^"]*)"', match["info"])
        found.append(Block(match["info"].split(" ")[0].strip(), title[1] if title else "", match["body"]))
    return found


def titled(page: str, title: str) -> str:
    """The text of the one block of ``docs/page`` with this title."""
    (found,) = (b.body for b in blocks(ROOT / "docs" / page) if b.title == title)
    return found


def shell_lines(text: str) -> list[str]:
    """Commands of a shell block: continued lines joined, parts of pipes and of ``&&`` apart, comments cut."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = [line.removeprefix("$ ").strip() for line in joined.splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r"\s(?:&&|\||>)\s", line)]
    return [part for part in parts if part and not part.startswith("#")]


def words(command: str) -> list[str]:
    """The words of a command as a shell would see them, without its comment."""
    return shlex.split(command, comments=True)


def commands(page: Path) -> list[str]:
    """Every ``w2s …`` that a page names, in blocks of shell code and between single backticks."""
    text = page.read_text(encoding="utf-8")
    found = [line for b in blocks(page) if b.language in ("sh", "") for line in shell_lines(b.body)]
    found += re.findall(r"(?<!`)`(w2s [^`\n]+)`(?!`)", FENCE.sub("", text))
    return [command for command in found if command.startswith("w2s ")]
