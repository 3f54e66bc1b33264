"""Social IQa: what people want, feel and do in everyday situations, three answers.

Source: M. Sap et al., "Social IQa: Commonsense Reasoning about Social Interactions", EMNLP 2019 (arXiv 1904.09728),
CC BY 4.0. The test part has no public labels, so the validation part (dev) is the test.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import Hub, Item, choices
from weakstrong.tasks._files import Record
from weakstrong.tasks._questions import LabelsApart
from weakstrong.tasks.base import TASKS


@TASKS.register
class SocialIQa(LabelsApart):
    """Is this the right answer to a question about people in a situation?"""

    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "hub:lighteval/siqa"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 35_364
    instruction: ClassVar[str] = (
        "Say whether the answer to the question about the situation is wrong or right."
    )
    hub: ClassVar[Hub] = Hub(
        "lighteval/siqa",
        "54c6a1f8cb6daf4f5abf24a601852612fb35eb25",
        {"train": "data/train-*.parquet", "test": "data/validation-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.jsonl",), "test": ("dev.jsonl",)}

    kind: Literal["social-iqa"] = "social-iqa"

    def items(self, record: Record) -> Iterable[Item]:
        if record["label"] in (None, ""):
            return []
        stem = f"{self.context(record['context'])}\nQuestion: {record['question']}"
        answers = [record[f"answer{letter}"] for letter in "ABC"]
        # Labels count from one.
        return choices(stem, answers, {range(1, 4).index(int(record["label"]))}, record["context"])
