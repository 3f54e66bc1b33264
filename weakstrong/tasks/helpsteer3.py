"""HelpSteer3-Preference: which of two answers people preferred, in general talk, STEM, code and many languages.

Source: Z. Wang et al., "HelpSteer3-Preference: Open Human-Annotated Preference Data across Diverse Tasks and
Languages", 2025 (arXiv 2505.11475), CC BY 4.0. By its card, −3 means that the first answer is much better, 3 that the second is,
0 that they are about the same. The validation part is the test.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from weakstrong.tasks._dataset import Hub
from weakstrong.tasks._files import Record
from weakstrong.tasks._preference import ASSISTANT, Comparison, PreferenceTask, dialogue, opening
from weakstrong.tasks.base import TASKS


@TASKS.register
class HelpSteer3(PreferenceTask):
    """Which of two answers did people prefer? Answers about the same are ties."""

    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "hub:nvidia/HelpSteer3"
    hub: ClassVar[Hub] = Hub(
        "nvidia/HelpSteer3",
        "f6d145777bcbde96137596340fab89793acd1031",
        {"train": "preference/train.jsonl.gz", "test": "preference/validation.jsonl.gz"},
    )
    originals: ClassVar = {"train": ("train*.jsonl",), "test": ("validation*.jsonl",)}

    kind: Literal["helpsteer3"] = "helpsteer3"

    def comparison(self, record: Record) -> Comparison | None:
        answers = (record["response1"], record["response2"])
        preference = int(record["overall_preference"])
        if not -3 <= preference <= 3:
            raise ValueError(f"overall_preference is {preference}, wanted −3 to 3")
        if preference == 0:
            return None
        chosen = int(preference > 0)
        turns = record["context"]
        return Comparison(dialogue(turns), answers[chosen], answers[1 - chosen], ASSISTANT, opening(turns))
