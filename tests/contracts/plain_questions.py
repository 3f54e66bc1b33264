"""The questions of the authors' files, read by plain code that owes nothing to the product, for tests."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree


def squeeze(text: str) -> str:
    """Words of a text in one line, for comparisons."""
    return " ".join(text.split())


@dataclass(frozen=True)
class Question:
    """A question of an original file, its answers, and which are right; rows about one passage are a group."""

    passage: str
    words: str
    answers: tuple[str, ...]
    right: frozenset[int]
    shown: str | None = None
    """What stands before the question, where that is not the passage."""

    @property
    def each(self) -> int:
        """How many right, and how many wrong answers are to be kept."""
        return min(len(self.right), len(self.answers) - len(self.right))

    def text(self, answer: str, form: str) -> str:
        """A row's text in one line."""
        words = (self.passage if self.shown is None else self.shown).split()
        passage = " ".join(words[:160] + ["…"] * (len(words) > 160))
        return squeeze(f"{passage} {form.format(self.words, answer)}")


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _cosmos(folder: Path) -> Iterator[Question]:
    with (folder / "valid.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            answers = tuple(row[f"answer{i}"] for i in range(4))
            yield Question(row["context"], row["question"], answers, frozenset({int(row["label"])}))


def _dream(folder: Path) -> Iterator[Question]:
    for part in ("train", "test"):
        for turns, questions, _ in json.loads((folder / f"{part}.json").read_text(encoding="utf-8")):
            for q in questions:
                right = frozenset({q["choice"].index(q["answer"])})
                yield Question("\n".join(turns), q["question"], tuple(q["choice"]), right)


def _hellaswag(folder: Path) -> Iterator[Question]:
    for row in json_lines((folder / "val_1000.jsonl").read_text(encoding="utf-8")):
        yield Question(row["source_id"], row["ctx"], tuple(row["endings"]), frozenset({row["label"]}), "")


def _mc_taco(folder: Path) -> Iterator[Question]:
    for part in ("test_9442", "dev_3783"):
        found: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for line in (folder / f"{part}.tsv").read_bytes().decode().split("\n"):
            if line:
                sentence, question, answer, label, _ = line.split("\t")
                found.setdefault((sentence, question), []).append((answer, label))
        for (sentence, question), rows in found.items():
            right = frozenset(i for i, (_, label) in enumerate(rows) if label == "yes")
            yield Question(sentence, question, tuple(answer for answer, _ in rows), right)


def _multirc(folder: Path) -> Iterator[Question]:
    for part in ("train", "val"):
        for row in json_lines((folder / f"{part}.jsonl").read_text(encoding="utf-8")):
            for q in row["passage"]["questions"]:
                right = frozenset(i for i, a in enumerate(q["answers"]) if a["label"])
                answers = tuple(a["text"] for a in q["answers"])
                yield Question(row["passage"]["text"], q["question"], answers, right)


def _openbookqa(folder: Path) -> Iterator[Question]:
    for part in ("train", "test"):
        for row in json_lines((folder / f"{part}.jsonl").read_text(encoding="utf-8")):
            stem, given = row["question"]["stem"], row["question"]["choices"]
            right = frozenset(i for i, c in enumerate(given) if c["label"] == row["answerKey"])
            yield Question(stem, stem, tuple(c["text"] for c in given), right, "")


def _piqa(folder: Path) -> Iterator[Question]:
    labels = (folder / "valid-labels.lst").read_text().split()
    for row, label in zip(
        json_lines((folder / "valid.jsonl").read_text(encoding="utf-8")), labels, strict=True
    ):
        yield Question(row["goal"], row["goal"], (row["sol1"], row["sol2"]), frozenset({int(label)}), "")


def _quail(folder: Path) -> Iterator[Question]:
    for text in ElementTree.parse(folder / "dev.xml").getroot().findall("text"):
        passage = (text.findtext("text_body") or "").strip()
        for q in text.findall("questions/q"):
            answers = q.findall("a")
            right = frozenset(i for i, a in enumerate(answers) if a.get("correct") == "True")
            words = tuple((a.text or "").strip() for a in answers)
            yield Question(passage, (q.text or "").strip(), words, right)


def _sciq(folder: Path) -> Iterator[Question]:
    with zipfile.ZipFile(folder / "SciQ.zip") as archive:
        for part in ("train", "test"):
            for row in json.loads(archive.read(f"SciQ dataset-2 3/{part}.json")):
                answers = (row["distractor1"], row["correct_answer"], row["distractor2"], row["distractor3"])
                yield Question(row["support"], row["question"], answers, frozenset({1}))


def _social_iqa(folder: Path) -> Iterator[Question]:
    with zipfile.ZipFile(folder / "socialiqa-train-dev.zip") as archive:
        for part in ("train", "dev"):
            records = json_lines(archive.read(f"socialiqa-train-dev/{part}.jsonl").decode())
            labels = archive.read(f"socialiqa-train-dev/{part}-labels.lst").decode().split()
            for row, label in zip(records, labels, strict=True):
                answers = (row["answerA"], row["answerB"], row["answerC"])
                yield Question(row["context"], row["question"], answers, frozenset({int(label) - 1}))


READ: dict[str, tuple[Callable[[Path], Iterator[Question]], int]] = {
    "cosmos-qa": (_cosmos, 2985),
    "dream": (_dream, 8157),
    "hellaswag": (_hellaswag, 1000),
    "mc-taco": (_mc_taco, 561 + 1332),
    "multirc": (_multirc, 5131 + 953),
    "openbookqa": (_openbookqa, 5457),
    "piqa": (_piqa, 1838),
    "quail": (_quail, 2164),
    "sciq": (_sciq, 12_679),
    "social-iqa": (_social_iqa, 33_410 + 1954),
}
"""How the tests read a task's files, and how many questions its authors count in those at hand."""
