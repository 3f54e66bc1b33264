"""HellaSwag: how a video caption or a how-to article goes on, four endings.

Source: R. Zellers et al., "HellaSwag: Can a Machine Really Finish Your Sentence?", ACL 2019 (arXiv 1905.07830), MIT.
The test part has no public labels, so the validation part is the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item, choices
from weakstrong.tasks._files import Record
from weakstrong.tasks.base import TASKS

MARKS = re.compile(r"\s*\[(?:header|title|step|substeps)\]\s*")
ENDED = re.compile(r"""[.!?:;,][\s"')”’]*$""")


@TASKS.register
class HellaSwag(DatasetTask):
    """Is this how the text goes on?"""

    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "hub:Rowan/hellaswag"
    class_names: ClassVar[tuple[str, ...]] = ("wrong", "right")
    published: ClassVar[int | None] = 49_947
    instruction: ClassVar[str] = "Say whether the ending of the text is wrong or right."
    hub: ClassVar[Hub] = Hub(
        "Rowan/hellaswag",
        "218ec52e09a7e7462a5400043bb9a69a41d06b76",
        {"train": "data/train-*.parquet", "test": "data/validation-*.parquet"},
    )
    originals: ClassVar = {
        "train": ("hellaswag_train.jsonl", "train*.jsonl"),
        "test": ("hellaswag_val.jsonl", "val*.jsonl"),
    }

    kind: Literal["hellaswag"] = "hellaswag"

    def items(self, record: Record) -> Iterable[Item]:
        if record["label"] in (None, ""):
            return []
        stem = self.context(prose(record["ctx"]))
        endings = [prose(ending) for ending in record["endings"]]
        # Several contexts are cut from one video or article.
        group = record.get("source_id") or record["ctx"]
        return choices(stem, endings, {int(record["label"])}, group, "{stem}\nEnding: {answer}")


def prose(text: str) -> str:
    """Text without the marks of how-to articles; a full stop takes the place of one that followed a bare heading.

    >>> prose("[header] How to nap [title] Lie down. [step] Close your eyes.")
    'How to nap. Lie down. Close your eyes.'
    """
    *headings, last = [part.strip() for part in MARKS.split(text) if part.strip()] or [""]
    return " ".join([*(h if ENDED.search(h) else f"{h}." for h in headings), last])
