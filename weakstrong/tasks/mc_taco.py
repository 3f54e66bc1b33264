"""MC-TACO: how long, how often, when: plausible and implausible answers about time.

Source: B. Zhou et al., "'Going on a vacation' takes longer than 'Going for a walk': A Study of Temporal Commonsense
Understanding", EMNLP 2019 (arXiv 1909.03065); the authors state no licence. There is no training part: the larger
test part trains, the validation part (dev) is the test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item, choices
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._questions import Located, converted, joined
from weakstrong.tasks.base import TASKS


@TASKS.register
class McTaco(DatasetTask):
    """Is this a plausible answer to a question about time?"""

    licence: ClassVar[str] = "none stated"
    source: ClassVar[str] = "hub:CogComp/mc_taco"
    class_names: ClassVar[tuple[str, ...]] = ("implausible", "plausible")
    published: ClassVar[int | None] = 13_225
    instruction: ClassVar[str] = (
        "Say whether the answer to the question about time is implausible or plausible."
    )
    hub: ClassVar[Hub] = Hub(
        "CogComp/mc_taco",
        "refs/convert/parquet",
        {"train": "plain_text/test/*.parquet", "test": "plain_text/validation/*.parquet"},
    )
    originals: ClassVar = {"train": ("test_9442.tsv", "test*.tsv"), "test": ("dev_3783.tsv", "dev*.tsv")}

    kind: Literal["mc-taco"] = "mc-taco"

    def records(self) -> Iterator[Located]:
        return joined(super().records(), ("sentence", "question"))

    def items(self, record: Record) -> Iterable[Item]:
        rows = record["answers"]
        stem = f"{self.context(record['sentence'])}\nQuestion: {record['question']}"
        right = [i for i, row in enumerate(rows) if int(row["label"])]
        return choices(stem, [row["answer"] for row in rows], right, record["sentence"])

    def original(self, file: DataFile) -> Iterable[Record]:
        return converted(
            file,
            lambda r: [{**r, "label": ("no", "yes").index(r["label"])}],
            columns=("sentence", "question", "answer", "label", "category"),
        )
