"""Sentences from opinion articles of a newspaper, each rated by 20 people.

Source and files: `weakstrong.tasks._rated`. Four ratings in nine are 0, and nearly half of the sentences have too weak a
mean to stay, more than in the other sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from weakstrong.tasks._rated import ARCHIVE, RatedTask, by_document
from weakstrong.tasks.base import TASKS


@TASKS.register
class EditorialSnippets(RatedTask):
    """Is the tone of the sentence positive? An article is a group."""

    source: ClassVar[str] = ARCHIVE + "nytEditorialSnippets_GroundTruth.txt"
    sha256: ClassVar[str] = "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e"
    ratings: ClassVar[str] = ARCHIVE + "nytEditorialSnippets_anonDataRatings.txt"
    ratings_sha256: ClassVar[str] = "803c87c5bb529334bb5ed5fca244aa935e5f342bc0a930d91a0f22e978ee39f2"
    size: ClassVar[int | None] = 2_788
    instruction: ClassVar[str] = "Say whether the tone of the newspaper sentence is negative or positive."

    kind: Literal["editorial-snippets"] = "editorial-snippets"

    def groups(self, ids: Sequence[str], texts: Sequence[str]) -> list[str]:
        return by_document(ids, texts)
