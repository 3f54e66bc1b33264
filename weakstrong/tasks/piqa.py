"""PIQA: which of two ways to a goal works in the physical world.

Source: Y. Bisk et al., "PIQA: Reasoning about Physical Commonsense in Natural Language", AAAI 2020 (arXiv 1911.11641),
Academic Free License 3.0. The test part has no public labels, so the validation part is the test.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import Hub, Item, choices
from weakstrong.tasks._files import Record
from weakstrong.tasks._questions import LabelsApart
from weakstrong.tasks.base import TASKS


@TASKS.register
class Piqa(LabelsApart):
    """Does this reach the goal?"""

    licence: ClassVar[str] = "Academic Free License 3.0"
    source: ClassVar[str] = "hub:baber/piqa"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 17_951
    instruction: ClassVar[str] = "Say whether the solution for the goal is wrong or right."
    hub: ClassVar[Hub] = Hub(
        "baber/piqa",
        "142f6d7367fd9877f0fb3b5734ea6a545f54cdd1",
        {"train": "piqa_train.parquet", "test": "piqa_validation.parquet"},
    )
    originals: ClassVar = {"train": ("train.jsonl",), "test": ("valid.jsonl", "dev.jsonl")}

    kind: Literal["piqa"] = "piqa"

    def items(self, record: Record) -> Iterable[Item]:
        label = int(record["label"])
        if label < 0:
            return []
        goal, solutions = record["goal"], [record["sol1"], record["sol2"]]
        return choices(f"Goal: {goal}", solutions, {label}, goal, "{stem}\nSolution: {answer}")
