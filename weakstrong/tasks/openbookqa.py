"""OpenBookQA: elementary science questions, four answers, the book of facts left out.

Source: T. Mihaylov et al., "Can a Suit of Armor Conduct Electricity? A New Dataset for Open Book Question Answering",
EMNLP 2018 (arXiv 1809.02789), Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item, choices
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._questions import converted
from weakstrong.tasks.base import TASKS


@TASKS.register
class OpenBookQA(DatasetTask):
    """Is this the right answer to a question of elementary science?"""

    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "hub:allenai/openbookqa"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 5_457
    instruction: ClassVar[str] = "Say whether the answer to the science question is wrong or right."
    hub: ClassVar[Hub] = Hub(
        "allenai/openbookqa",
        "388097ea7776314e93a529163e0fea805b8a6454",
        {"train": "main/train-*.parquet", "test": "main/test-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.jsonl",), "test": ("test.jsonl",)}

    kind: Literal["openbookqa"] = "openbookqa"

    def items(self, record: Record) -> Iterable[Item]:
        stem, answers = record["question_stem"], record["choices"]
        right = answers["label"].index(record["answerKey"].strip())
        return choices(f"Question: {stem}", answers["text"], {right}, stem)

    def original(self, file: DataFile) -> Iterable[Record]:
        return converted(file, _flat)


def _flat(record: Record) -> Iterable[Record]:
    question = record["question"]
    answers = {name: [choice[name] for choice in question["choices"]] for name in ("text", "label")}
    return [{**record, "question_stem": question["stem"], "choices": answers}]
