"""TL;DR: which of two summaries of a Reddit post people preferred.

Source: N. Stiennon et al., "Learning to Summarize from Human Feedback", NeurIPS 2020 (arXiv 2009.01325); the authors'
comparisons (``batch*.json``) are under a modified MIT licence, and so is the copy on the hub. The validation part is the test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import Hub, Origin
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._preference import Comparison, PreferenceTask
from weakstrong.tasks._questions import converted
from weakstrong.tasks.base import TASKS


@TASKS.register
class TldrPreference(PreferenceTask):
    """Which of two summaries of a post did a person prefer?"""

    licence: ClassVar[str] = "modified MIT"
    source: ClassVar[str] = "hub:trl-lib/tldr-preference"
    instruction: ClassVar[str] = "Say which of two summaries is better."
    hub: ClassVar[Hub] = Hub(
        "trl-lib/tldr-preference",
        "8422d5e62591b884d6fd73f8ae2ae28aa91f8dd0",
        {"train": "default/train/*.parquet", "test": "default/validation/*.parquet"},
    )
    # The authors' files of news articles (cnndm*.json) are another task.
    originals: ClassVar = {
        "train": ("train*.parquet", "train*.jsonl", "batch*.json"),
        "test": ("validation*.parquet", "validation*.jsonl"),
    }

    kind: Literal["tldr-preference"] = "tldr-preference"

    def records(self) -> Iterator[tuple[Origin, DataFile, Record]]:
        # The authors' files mix both parts; each record says which one it belongs to.
        for origin, file, record in super().records():
            yield "test" if str(record.get("split", "")).startswith("valid") else origin, file, record

    def original(self, file: DataFile) -> Iterable[Record]:
        return converted(file, _as_on_the_hub)

    def comparison(self, record: Record) -> Comparison | None:
        return Comparison(record["prompt"], record["chosen"], record["rejected"])


def _as_on_the_hub(record: Record) -> list[Record]:
    """A record of the authors in the hub's fields, or one that has these already."""
    if "summaries" not in record:
        return [record]
    info, texts, choice = record["info"], [s["text"] for s in record["summaries"]], record["choice"]
    if choice not in (0, 1) or len(texts) != 2:
        raise ValueError(f"choice is {choice!r} of {len(texts)} summaries, wanted 0 or 1 of 2")
    prompt = f"SUBREDDIT: r/{info['subreddit']}\n\nTITLE: {info['title']}\n\nPOST: {info['post']}\n\nTL;DR:"
    made = {"prompt": prompt, "chosen": texts[choice], "rejected": texts[1 - choice]}
    return [made | {"split": record.get("split", "")}]
