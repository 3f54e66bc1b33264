"""ETHICS, virtue: does somebody in the scenario show this trait of character?

Source: D. Hendrycks et al., "Aligning AI With Shared Human Values", ICLR 2021 (arXiv 2008.02275). The test part is the
ordinary one, which the hub calls validation; the adversarially filtered one is left out. Rows of one scenario are one
group: the training file has negative traits for nine in ten of the test scenarios too.

Of the test rows one in five is positive, of the training rows one in twelve: the first 16,000 rows of that file are
negative but for a handful. So the larger class is cut down far when the split is balanced, and ``limit`` lets the
whole file in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.tasks._dataset import DatasetTask, Hub, Item
from weakstrong.tasks._files import Record
from weakstrong.tasks._groups import words
from weakstrong.tasks.base import TASKS


@TASKS.register
class EthicsVirtue(DatasetTask):
    """Is this trait shown in the scenario?"""

    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "hub:hendrycks/ethics"
    class_names: ClassVar[tuple[str, ...]] = ("no", "yes")
    published: ClassVar[int | None] = 33_220
    instruction: ClassVar[str] = "Say whether somebody in the text shows the trait named after it, no or yes."
    hub: ClassVar[Hub] = Hub(
        "hendrycks/ethics",
        "6deab74c03e30f13540266e373ce31f8466169f8",
        {"train": "virtue/train/*.parquet", "test": "virtue/validation/*.parquet"},
    )
    originals: ClassVar = {
        "train": ("virtue_train.csv", "train.csv"),
        "test": ("virtue_test.csv", "test.csv"),
    }

    kind: Literal["ethics-virtue"] = "ethics-virtue"
    limit: int = Field(40_000, ge=10, description="rows kept of each part, whole groups, chosen by hash")

    def items(self, record: Record) -> Iterable[Item]:
        scenario, mark, trait = record["scenario"].partition("[SEP]")
        if not mark:
            raise ValueError("field 'scenario' has no [SEP] before the trait")
        yield Item(
            f"{scenario.strip()}\nTrait: {trait.strip()}", int(record["label"]), " ".join(words(scenario))
        )
