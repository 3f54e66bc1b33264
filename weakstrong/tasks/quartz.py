"""QuaRTz: how one quantity follows another, a sentence of knowledge and two answers.

Source: O. Tafjord et al., "QuaRTz: An Open-Domain Dataset of Qualitative Relationship Questions", EMNLP 2019
(arXiv 1909.03553), CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item, choices
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._questions import converted
from weakstrong.tasks.base import TASKS


@TASKS.register
class Quartz(DatasetTask):
    """Is this the right answer to a question about how quantities hang together?"""

    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "hub:allenai/quartz"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 3_480
    instruction: ClassVar[str] = "Say whether the answer to the question is wrong or right."
    hub: ClassVar[Hub] = Hub(
        "allenai/quartz",
        "28c1dbb56caf81799296cb17892fa73402e23464",
        {"train": "data/train-*.parquet", "test": "data/test-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.jsonl",), "test": ("test.jsonl",)}

    kind: Literal["quartz"] = "quartz"

    def items(self, record: Record) -> Iterable[Item]:
        answers = record["choices"]
        stem = f"{self.context(record['para'])}\nQuestion: {record['question']}"
        right = answers["label"].index(record["answerKey"].strip())
        return choices(stem, answers["text"], {right}, record["para"])

    def original(self, file: DataFile) -> Iterable[Record]:
        return converted(file, _flat)


def _flat(record: Record) -> Iterable[Record]:
    question = record["question"]
    answers = {name: [choice[name] for choice in question["choices"]] for name in ("text", "label")}
    return [{**record, "question": question["stem"], "choices": answers}]
