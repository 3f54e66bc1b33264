"""HelpSteer2: two answers to a prompt, each rated by people; the more helpful one is preferred.

Source: Z. Wang et al., "HelpSteer2: Open-source dataset for training top-performing reward models", NeurIPS 2024
(arXiv 2406.08673), CC BY 4.0. The validation part is the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import Hub
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._preference import ASSISTANT, Comparison, PreferenceTask, dialogue, opening
from weakstrong.tasks._questions import Located
from weakstrong.tasks.base import TASKS

TURN = re.compile(r"\s*<extra_id_1>(User|Assistant)\s*")


@TASKS.register
class HelpSteer2(PreferenceTask):
    """Which of two answers did people rate as more helpful? Equal ratings are ties."""

    licence: ClassVar[str] = "CC BY 4.0"
    source: ClassVar[str] = "hub:nvidia/HelpSteer2"
    hub: ClassVar[Hub] = Hub(
        "nvidia/HelpSteer2",
        "990b2711a36180dd19d9c94b8627844866f8982a",
        {"train": "train.jsonl.gz", "test": "validation.jsonl.gz"},
    )
    originals: ClassVar = {"train": ("train*.jsonl",), "test": ("validation*.jsonl",)}

    kind: Literal["helpsteer2"] = "helpsteer2"

    def records(self) -> Iterator[Located]:
        """Two neighbours of one prompt as one record, in its field ``answers``; one without its other stays alone."""
        waiting: Located | None = None
        for origin, file, record in super().records():
            if waiting is None:
                waiting = origin, file, record
            elif _place(waiting) == _place((origin, file, record)):
                yield origin, file, {**record, "answers": [waiting[2], record]}
                waiting = None
            else:
                yield _alone(waiting)
                waiting = origin, file, record
        if waiting is not None:
            yield _alone(waiting)

    def comparison(self, record: Record) -> Comparison | None:
        prompt, answers = record["prompt"], record["answers"]
        rated = [(int(a["helpfulness"]), a["response"]) for a in answers]
        if len(rated) != 2 or rated[0][0] == rated[1][0]:
            return None
        (_, rejected), (_, chosen) = sorted(rated)
        turns = _turns(prompt)
        return Comparison(dialogue(turns), chosen, rejected, ASSISTANT, opening(turns))


def _place(found: Located) -> tuple[str, DataFile, object]:
    # A missing prompt is None here; comparison() then says that it is missing, with the record.
    origin, file, record = found
    return origin, file, record.get("prompt")


def _alone(found: Located) -> Located:
    origin, file, record = found
    return origin, file, {**record, "answers": [record]}


def _turns(prompt: str) -> list[dict[str, str]]:
    """The messages of a prompt; turns after the first begin with ``<extra_id_1>Assistant`` or ``<extra_id_1>User``.

    >>> [m["role"] for m in _turns("Hi?\\n<extra_id_1>Assistant\\nHello.\\n<extra_id_1>User\\nWho are you?")]
    ['user', 'assistant', 'user']
    """
    first, *rest = TURN.split(prompt)
    turns = [("User", first), *zip(rest[::2], rest[1::2], strict=True)]
    return [{"role": role.lower(), "content": text} for role, text in turns if text.strip()]
