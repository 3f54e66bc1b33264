"""CoLA: sentences from works on linguistics, acceptable English or not.

Source: A. Warstadt et al., "Neural Network Acceptability Judgments", TACL 2019 (arXiv 1805.12471); as in GLUE (arXiv
1804.07461). The test part has no public labels, so the two development parts (from the same works, and from others)
are the test. Minimal pairs are not marked, so every sentence is a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item
from weakstrong.tasks._files import DataFile, Record, records
from weakstrong.tasks.base import TASKS

COLUMNS = ("source", "label", "mark", "sentence")
"""The original files have no header; ``mark`` is the star of the linguist."""


@TASKS.register
class Cola(DatasetTask):
    """Is this sentence acceptable English?"""

    licence: ClassVar[str] = "research use (fair use), no formal licence"
    source: ClassVar[str] = "hub:nyu-mll/glue"
    class_names: ClassVar[tuple[str, ...]] = ("unacceptable", "acceptable")
    published: ClassVar[int | None] = 9_594
    instruction: ClassVar[str] = (
        "Say whether the sentence is unacceptable or acceptable English to a native speaker."
    )
    hub: ClassVar[Hub] = Hub(
        "nyu-mll/glue",
        "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
        {"train": "cola/train-*.parquet", "test": "cola/validation-*.parquet"},
    )
    originals: ClassVar = {
        "train": ("in_domain_train.tsv", "train.tsv"),
        "test": ("*_domain_dev.tsv", "dev.tsv"),
    }

    kind: Literal["cola"] = "cola"

    def items(self, record: Record) -> Iterable[Item]:
        label = int(record["label"])
        if label >= 0:
            yield Item(record["sentence"], label, record["sentence"])

    def original(self, file: DataFile) -> Iterable[Record]:
        if Path(file.member or file.path).parent.name == "tokenized":
            return ()  # the release has all its files twice; "raw" is the text
        return records(file, COLUMNS)
