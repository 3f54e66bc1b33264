"""MultiRC: questions that take several sentences of a passage to answer; any number of the answers may be right.

Source: D. Khashabi et al., "Looking Beyond the Surface: A Challenge Set for Reading Comprehension over Multiple
Sentences", NAACL 2018; SuperGLUE's copy (arXiv 1905.00537), for research. The test part has no public labels, so the
validation part is the test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item, choices
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._questions import Located, converted, joined
from weakstrong.tasks.base import TASKS


@TASKS.register
class MultiRC(DatasetTask):
    """Is this one of the right answers to a question about a passage?"""

    licence: ClassVar[str] = "research use"
    source: ClassVar[str] = "hub:aps/super_glue"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 32_091
    instruction: ClassVar[str] = "Say whether the answer to the question about the passage is wrong or right."
    hub: ClassVar[Hub] = Hub(
        "aps/super_glue",
        "3de24cf8022e94f4ee4b9d55a6f539891524d646",
        {"train": "multirc/train-*.parquet", "test": "multirc/validation-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.jsonl",), "test": ("val.jsonl",)}

    kind: Literal["multirc"] = "multirc"

    def records(self) -> Iterator[Located]:
        return joined(super().records(), ("paragraph", "question"))

    def items(self, record: Record) -> Iterable[Item]:
        rows = record["answers"]
        stem = f"{self.context(record['paragraph'])}\nQuestion: {record['question']}"
        right = [i for i, row in enumerate(rows) if int(row["label"])]
        return choices(stem, [row["answer"] for row in rows], right, record["paragraph"])

    def original(self, file: DataFile) -> Iterable[Record]:
        return converted(file, _flat)


def _flat(record: Record) -> Iterable[Record]:
    passage = record["passage"]
    return [
        {"paragraph": passage["text"], "question": q["question"], "answer": a["text"], "label": a["label"]}
        for q in passage["questions"]
        for a in q["answers"]
    ]
