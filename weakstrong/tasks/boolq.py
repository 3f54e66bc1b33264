"""BoolQ: yes/no questions about a Wikipedia passage.

Source: C. Clark et al., "BoolQ: Exploring the Surprising Difficulty of Natural Yes/No Questions", NAACL 2019
(arXiv 1905.10044), CC BY-SA 3.0. The test part has no public labels, so the validation part is the test.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._questions import converted
from weakstrong.tasks.base import TASKS


@TASKS.register
class BoolQ(DatasetTask):
    """Does the passage answer the question with yes?"""

    licence: ClassVar[str] = "CC BY-SA 3.0"
    source: ClassVar[str] = "hub:google/boolq"
    class_names: ClassVar[tuple[str, ...]] = ("no", "yes")
    published: ClassVar[int | None] = 12_697
    instruction: ClassVar[str] = "Say whether the answer to the question about the passage is no or yes."
    hub: ClassVar[Hub] = Hub(
        "google/boolq",
        "35b264d03638db9f4ce671b711558bf7ff0f80d5",
        {"train": "data/train-*.parquet", "test": "data/validation-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.jsonl",), "test": ("dev.jsonl", "val.jsonl")}

    kind: Literal["boolq"] = "boolq"

    def items(self, record: Record) -> Iterable[Item]:
        if record["answer"] is None:
            return
        yield Item(
            f"Passage: {self.context(record['passage'])}\nQuestion: {record['question'].rstrip(' ?')}?",
            int(record["answer"]),
            record["passage"],
        )

    def original(self, file: DataFile) -> Iterable[Record]:
        # SuperGLUE's copy calls the answer a label.
        return converted(file, lambda r: [r if "answer" in r else {**r, "answer": r["label"]}])
