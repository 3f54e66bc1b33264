"""UltraFeedback, binarised: the answer of several models that GPT-4 scored best, and another one.

Source: G. Cui et al., "UltraFeedback: Boosting Language Models with Scaled AI Feedback", ICML 2024 (arXiv 2310.01377);
the pairs were made for Zephyr (L. Tunstall et al., arXiv 2310.16944), MIT. Pairs of equal scores are ties.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from weakstrong.tasks._dataset import Hub
from weakstrong.tasks._files import Record
from weakstrong.tasks._preference import ASSISTANT, Comparison, PreferenceTask, dialogue, opening
from weakstrong.tasks.base import TASKS


@TASKS.register
class UltraFeedback(PreferenceTask):
    """Which of two answers did GPT-4 score higher?"""

    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "hub:HuggingFaceH4/ultrafeedback_binarized"
    hub: ClassVar[Hub] = Hub(
        "HuggingFaceH4/ultrafeedback_binarized",
        "3949bf5f8c17c394422ccfab0c31ea9c20bdeb85",
        {"train": "data/train_prefs-*.parquet", "test": "data/test_prefs-*.parquet"},
    )
    originals: ClassVar = {
        "train": ("train_prefs*.parquet", "train_prefs*.jsonl"),
        "test": ("test_prefs*.parquet", "test_prefs*.jsonl"),
    }

    kind: Literal["ultrafeedback"] = "ultrafeedback"

    def comparison(self, record: Record) -> Comparison | None:
        chosen, rejected = record["chosen"], record["rejected"]
        prompt = dialogue(chosen[:-1])
        if record["score_chosen"] == record["score_rejected"] or prompt != dialogue(rejected[:-1]):
            return None
        if record["score_chosen"] < record["score_rejected"]:
            raise ValueError("the chosen answer has the lower score")
        return Comparison(prompt, chosen[-1]["content"], rejected[-1]["content"], ASSISTANT, opening(chosen))
