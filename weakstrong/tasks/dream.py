"""DREAM: questions about a dialogue from exams of English as a foreign language, three answers.

Source: K. Sun et al., "DREAM: A Challenge Dataset and Models for Dialogue-Based Reading Comprehension", TACL 2019
(arXiv 1902.00164), for non-commercial research only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item, choices
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._questions import converted
from weakstrong.tasks.base import TASKS


@TASKS.register
class Dream(DatasetTask):
    """Is this the right answer to a question about a dialogue?"""

    licence: ClassVar[str] = "non-commercial research only"
    source: ClassVar[str] = "hub:dataset-org/dream"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 8_157
    instruction: ClassVar[str] = (
        "Say whether the answer to the question about the dialogue is wrong or right."
    )
    hub: ClassVar[Hub] = Hub(
        "dataset-org/dream",
        "ca4c45feaf089ecfc37579eb2c594375f70dbfd5",
        {"train": "plain_text/train/*.parquet", "test": "plain_text/test/*.parquet"},
    )
    originals: ClassVar = {"train": ("train.json",), "test": ("test.json",)}

    kind: Literal["dream"] = "dream"

    def items(self, record: Record) -> Iterable[Item]:
        turns, answers = record["dialogue"], record["choice"]
        stem = f"{self.context(' '.join(turns))}\nQuestion: {record['question']}"
        return choices(stem, answers, {answers.index(record["answer"])}, "\n".join(turns))

    def original(self, file: DataFile) -> Iterable[Record]:
        return converted(file, _questions)


def _questions(entry: Any) -> Iterable[Record]:
    turns, questions, name = entry
    return [{**question, "dialogue": turns, "dialogue_id": name} for question in questions]
