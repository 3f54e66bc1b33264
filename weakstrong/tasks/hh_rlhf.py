"""HH-RLHF: which of two answers of an assistant people found more helpful, or less harmful.

Source: Y. Bai et al., "Training a Helpful and Harmless Assistant with Reinforcement Learning from Human Feedback",
2022 (arXiv 2204.05862), MIT. Its red-team-attempts are ratings of single dialogues and no comparisons.
"""

from __future__ import annotations

from collections.abc import Mapping
from os.path import commonprefix
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from weakstrong.tasks._dataset import Hub, Origin
from weakstrong.tasks._files import Record
from weakstrong.tasks._preference import ASSISTANT, Comparison, PreferenceTask
from weakstrong.tasks.base import TASKS

HUMAN, ANSWER = "\n\nHuman:", "\n\nAssistant:"
Subset = Literal["", "all", "harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"]


@TASKS.register
class HhRlhf(PreferenceTask):
    """Which of two answers in a dialogue did a person prefer?

    The prompt is what both dialogues share up to an answer; what follows is compared. Turns of one conversation
    (the same first words of the human) are one group.
    """

    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = "hub:Anthropic/hh-rlhf"
    hub: ClassVar[Hub] = Hub(
        "Anthropic/hh-rlhf",
        "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa",
        {"train": "helpful-base/train.jsonl.gz", "test": "helpful-base/test.jsonl.gz"},
    )
    # Parts called _train and _test belong together: single turns, say, beside a .test file of whole dialogues.
    originals: ClassVar = {
        "train": ("train*.jsonl", "*_train*.jsonl", "*train*.jsonl"),
        "test": ("test*.jsonl", "*_test*.jsonl", "*test*.jsonl"),
    }

    kind: Literal["hh-rlhf"] = "hh-rlhf"
    subset: Subset = Field(
        "",
        description="folder of the hub or of data_dir, or all; empty: helpful-base, in data_dir all that lies there",
    )

    @model_validator(mode="before")
    @classmethod
    def _place(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        folder, subset = values.get("data_dir"), values.get("subset") or ""
        if folder is None:
            return values | {"subset": subset or "helpful-base"}
        if not isinstance(folder, str) or subset not in get_args(Subset):
            return values  # the fields' own types say what is wrong
        # The digest of the content names what lies in a folder, so the subset stays out of the key.
        inside = Path(folder) / subset
        return values | {"subset": "", "data_dir": str(inside) if inside.expanduser().is_dir() else folder}

    def hub_files(self) -> Mapping[Origin, str]:
        folder = "*" if self.subset == "all" else self.subset
        return {origin: f"{folder}/{origin}.jsonl.gz" for origin in self.hub.files}

    def comparison(self, record: Record) -> Comparison | None:
        chosen, rejected = record["chosen"], record["rejected"]
        shared = commonprefix((chosen, rejected))  # noqa: RUF071 - of characters is what is wanted
        cut = shared.rfind(ANSWER)
        if cut < 0:
            return None  # two prompts: nothing says which answer is better
        prompt, start = chosen[:cut].strip(), cut + len(ANSWER)
        first_turn = f"\n\n{prompt}".split(ANSWER)[0].removeprefix(HUMAN).strip()
        return Comparison(prompt, chosen[start:], rejected[start:], ASSISTANT, first_turn)
