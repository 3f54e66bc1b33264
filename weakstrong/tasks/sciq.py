"""SciQ: science questions written by crowd workers, four answers, most with a paragraph of a textbook.

Source: J. Welbl et al., "Crowdsourcing Multiple Choice Science Questions", W-NUT 2017 (arXiv 1707.06209),
CC BY-NC 3.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import Hub, Item, choices
from weakstrong.tasks._files import Record
from weakstrong.tasks._groups import GroupedTask, chained, group_of
from weakstrong.tasks.base import TASKS


@TASKS.register
class SciQ(GroupedTask):
    """Is this the right answer to a science question?"""

    licence: ClassVar[str] = "CC BY-NC 3.0"
    source: ClassVar[str] = "hub:allenai/sciq"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 12_679
    instruction: ClassVar[str] = "Say whether the answer to the science question is wrong or right."
    hub: ClassVar[Hub] = Hub(
        "allenai/sciq",
        "2c94ad3e1aafab77146f384e23536f97a4849815",
        {"train": "data/train-*.parquet", "test": "data/test-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.json",), "test": ("test.json",)}

    kind: Literal["sciq"] = "sciq"

    def groups(self, held: Sequence[Record]) -> list[str]:
        # Some seventy questions come again with another paragraph, some paragraphs with another question.
        asked = [str(record.get("question")).strip().lower() for record in held]
        read = [str(record.get("support") or "").strip() for record in held]
        return chained(
            [[f"question {q}", *([f"support {s}"] if s else [])] for q, s in zip(asked, read, strict=True)]
        )

    def items(self, record: Record) -> Iterable[Item]:
        stem = f"{self.context(record['support'])}\nQuestion: {record['question']}"
        answers = [record["correct_answer"], *(record[f"distractor{i}"] for i in (1, 2, 3))]
        return choices(stem, answers, {0}, group_of(record, record["support"] or record["question"]))
