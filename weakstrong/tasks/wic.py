"""WiC: does a word have the same meaning in two contexts?

Source: M. T. Pilehvar and J. Camacho-Collados, "WiC: the Word-in-Context Dataset for Evaluating Context-Sensitive Meaning
Representations", NAACL 2019 (arXiv 1808.09121); as in SuperGLUE (arXiv 1905.00537). The test part has no public labels,
so the validation part is the test. Contexts come back in several pairs of their word, so a word is one group.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item
from weakstrong.tasks._files import Record
from weakstrong.tasks.base import TASKS


@TASKS.register
class Wic(DatasetTask):
    """Does the word mean the same in both contexts?"""

    licence: ClassVar[str] = "CC BY-NC 4.0"
    source: ClassVar[str] = "hub:aps/super_glue"
    class_names: ClassVar[tuple[str, ...]] = ("different", "same")
    published: ClassVar[int | None] = 6_066
    instruction: ClassVar[str] = (
        "Say whether the word has a different or the same meaning in the two contexts."
    )
    hub: ClassVar[Hub] = Hub(
        "aps/super_glue",
        "3de24cf8022e94f4ee4b9d55a6f539891524d646",
        {"train": "wic/train-*.parquet", "test": "wic/validation-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.jsonl",), "test": ("val.jsonl",)}

    kind: Literal["wic"] = "wic"

    def items(self, record: Record) -> Iterable[Item]:
        label = int(record["label"])
        if label < 0:
            return
        word = record["word"]
        yield Item(
            f"Word: {word}\nContext 1: {record['sentence1']}\nContext 2: {record['sentence2']}",
            label,
            word.lower(),
        )
