"""SHP: which of two comments under a question on Reddit got the higher score, although it came later.

Source: K. Ethayarajh et al., "Understanding Dataset Difficulty with V-Usable Information", ICML 2022 (arXiv
2110.08420), and the card of `stanfordnlp/SHP`; Reddit's terms of use. Label 1 means that comment A is preferred, by the card.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.tasks._dataset import Hub
from weakstrong.tasks._files import Record
from weakstrong.tasks._preference import Comparison, PreferenceTask
from weakstrong.tasks.base import TASKS


@TASKS.register
class Shp(PreferenceTask):
    """Which of two comments on a post did readers prefer?"""

    licence: ClassVar[str] = "Reddit API terms"
    source: ClassVar[str] = "hub:stanfordnlp/SHP"
    hub: ClassVar[Hub] = Hub(
        "stanfordnlp/SHP",
        "e94b5f32602712d78ed494fe79105b1959396686",
        {"train": "*/train.json", "test": "*/test.json"},
    )
    originals: ClassVar = {
        "train": ("train*.json", "train*.jsonl"),
        "test": ("test*.json", "test*.jsonl"),
    }

    kind: Literal["shp"] = "shp"
    min_score_ratio: float = Field(
        2.0,
        ge=1,
        description="comparisons whose higher score is less than this times the lower one are dropped",
    )

    def comparison(self, record: Record) -> Comparison | None:
        answers = (record["human_ref_B"], record["human_ref_A"])
        label = int(record["labels"])
        if label not in (0, 1):
            raise ValueError(f"labels is {label}, wanted 1 (A is preferred) or 0")
        if float(record["score_ratio"]) < self.min_score_ratio:
            return None
        return Comparison(record["history"], answers[label], answers[1 - label])
