"""Short texts with the single ratings of people: what the four sets of one archive share.

Source: C. J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text", ICWSM 2014; the files lie in the source distribution of vaderSentiment 0.5 (MIT licence). Each set has a file of
texts (id, mean rating, text) and one of ratings (id, mean, population standard deviation, list of whole numbers from
-4 to 4), both of tab-separated lines.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from weakstrong.errors import DataError
from weakstrong.tasks._groups import chained
from weakstrong.tasks.base import Task, TaskRows

ARCHIVE = "pypi:vaderSentiment==0.5/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014/"


class RatedTask(Task):
    """Texts labelled by the sign of their mean rating, 1 for a positive one; weak opinions are dropped.

    Two more columns of the rows: ``votes`` (list of int8), the class that each rater's rating falls in, -1 for a
    rating of 0, in the file's order; ``difficulty`` (float32), the population standard deviation of the ratings.
    """

    licence: ClassVar[str] = "MIT"
    class_names: ClassVar[tuple[str, ...]] = ("negative", "positive")
    raters_known: ClassVar[bool] = False
    noun: ClassVar[str] = "sentences"
    """What notes call the rows."""
    sha256: ClassVar[str]
    """Of the file of texts, which `source` names."""
    ratings: ClassVar[str]
    """Where the file of ratings lies."""
    ratings_sha256: ClassVar[str]

    min_mean: float = Field(
        0.5, ge=0, lt=4, description="rows whose |mean rating| is not above this are dropped"
    )

    @abstractmethod
    def groups(self, ids: Sequence[str], texts: Sequence[str]) -> list[str] | None:
        """The group of each row; None for one group per text."""

    def load(self) -> TaskRows:
        import numpy as np
        import pyarrow as pa

        from weakstrong.data import make_rows
        from weakstrong.sources import fetch

        path = fetch(self.ratings, self.ratings_sha256)
        # Joined by id: the two files of the product set are sorted differently.
        rated = {name: json.loads(ratings) for name, _, _, ratings in _lines(path, 4)}
        ids, texts, chosen = [], [], []
        count = 0
        for name, _, text in _lines(fetch(self.source, self.sha256), 3):
            count += 1
            if name not in rated:
                raise DataError(f"{path} has no ratings of {name!r}, one line for each text is wanted")
            ratings = rated[name]
            # Not the mean beside the text: that of 199 tweets comes from other ratings than those that are published.
            if abs(sum(ratings) / len(ratings)) > self.min_mean:
                ids.append(name)
                texts.append(text.strip())
                chosen.append(ratings)
        table = make_rows(texts, [int(sum(r) > 0) for r in chosen], groups=self.groups(ids, texts))
        votes = [[-1 if r == 0 else int(r > 0) for r in ratings] for ratings in chosen]
        difficulty = [float(np.std(ratings)) for ratings in chosen]
        table = table.append_column("votes", pa.array(votes, pa.list_(pa.int8())))
        table = table.append_column("difficulty", pa.array(difficulty, pa.float32()))
        notes = (f"{count - len(texts)} of {count} {self.noun} with |mean rating| ≤ {self.min_mean} dropped",)
        return TaskRows(table, self.class_names, notes)

    def cached(self) -> bool:
        from weakstrong.sources import is_cached

        return is_cached(self.source) and is_cached(self.ratings)


def document(name: str) -> str:
    """The document that a snippet's id names.

    >>> document("12_3")
    'document 12'
    """
    return f"document {name.partition('_')[0]}"


def wording(text: str) -> str:
    """A key that texts share which differ in case, punctuation and white space only.

    >>> wording("Stupid rain.") == wording("STUPID rain!!!") != wording("Stupid snow.")
    True
    """
    from weakstrong.data import text_id
    from weakstrong.twins import words_of

    return f"wording {text_id(' '.join(words_of(text)))}"


def by_document(ids: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Documents as groups; documents with a sentence in common ("great player.") are one group.

    >>> by_document(["1_1", "1_2", "2_1", "3_1"], ["Great!", "Go for it.", "It broke.", "great"])
    ['document 1', 'document 1', 'document 2', 'document 1']
    """
    return chained([(document(name), wording(text)) for name, text in zip(ids, texts, strict=True)])


def _lines(path: Path, width: int) -> Iterator[list[str]]:
    """The fields of each line; one of the files begins with a byte-order mark."""
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").split("\r\n"), 1):
        if not line:
            continue
        fields = line.split("\t")
        if len(fields) != width:
            raise DataError(
                f"{path}: line {number} has {len(fields)} tab-separated fields, {width} are wanted"
            )
        yield fields
