"""SST-2: phrases and sentences of film reviews, negative or positive.

Source: R. Socher et al., "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank", EMNLP 2013; as
in GLUE (arXiv 1804.07461). The test part has no public labels, so the validation part is the test.

The training part holds sentences and most phrases of their parse trees: nine rows in ten are contained in another one.
A row belongs to the group of the longest row that holds it word by word, so a sentence keeps its phrases. What still
straddles are short phrases that several sentences have in common ("a good film"): they go with one of these. Of all
pairs of a sentence and a phrase of it, 99.9 % share their group where the phrase has six words or more, 97 % at four,
58 % at two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import Hub, Item
from weakstrong.tasks._files import Record
from weakstrong.tasks._groups import GroupedTask, containing, group_of
from weakstrong.tasks.base import TASKS


@TASKS.register
class Sst2(GroupedTask):
    """Is this phrase of a film review negative or positive?"""

    licence: ClassVar[str] = "no explicit licence (GLUE copy, research use)"
    source: ClassVar[str] = "hub:stanfordnlp/sst2"
    class_names: ClassVar[tuple[str, ...]] = ("negative", "positive")
    published: ClassVar[int | None] = 68_221
    instruction: ClassVar[str] = "Say whether the phrase of a film review is negative or positive."
    hub: ClassVar[Hub] = Hub(
        "stanfordnlp/sst2",
        "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb",
        {"train": "data/train-*.parquet", "test": "data/validation-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.tsv",), "test": ("dev.tsv",)}

    kind: Literal["sst2"] = "sst2"

    def groups(self, held: Sequence[Record]) -> list[str]:
        return containing([" ".join(str(record.get("sentence", "")).split()) for record in held])

    def items(self, record: Record) -> Iterable[Item]:
        label = int(record["label"])
        if label >= 0:
            yield Item(record["sentence"], label, group_of(record, record["sentence"]))
