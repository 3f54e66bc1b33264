"""CosmosQA: reading a blog post between the lines, four answers.

Source: L. Huang et al., "Cosmos QA: Machine Reading Comprehension with Contextual Commonsense Reasoning", EMNLP 2019
(arXiv 1909.00277). The test part has no public labels, so the validation part is the test.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item, choices
from weakstrong.tasks._files import Record
from weakstrong.tasks.base import TASKS


@TASKS.register
class CosmosQA(DatasetTask):
    """Is this the right answer to a question about what a blog post implies?"""

    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "hub:allenai/cosmos_qa"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 28_247
    instruction: ClassVar[str] = "Say whether the answer to the question is wrong or right."
    hub: ClassVar[Hub] = Hub(
        "allenai/cosmos_qa",
        "ed50fe83db62b355759053b1cd5eef344ee371e0",
        {"train": "default/train/*.parquet", "test": "default/validation/*.parquet"},
    )
    originals: ClassVar = {"train": ("train.csv", "train.jsonl"), "test": ("valid.csv", "valid.jsonl")}

    kind: Literal["cosmos-qa"] = "cosmos-qa"

    def items(self, record: Record) -> Iterable[Item]:
        label = int(record["label"])
        if label < 0:
            return []
        stem = f"{self.context(record['context'])}\nQuestion: {record['question']}"
        return choices(stem, [record[f"answer{i}"] for i in range(4)], {label}, record["context"])
