"""Sentences from film reviews, each with some twenty human ratings.

Source: C. J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text", ICWSM 2014; the files lie in the source distribution of vaderSentiment 0.5 (MIT licence).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.errors import DataError
from weakstrong.tasks.base import TASKS, Task, TaskRows

ARCHIVE = "pypi:vaderSentiment==0.5/additional_resources/hutto_ICWSM_2014.tar.gz!hutto_ICWSM_2014/"
FILE, SHA256 = (
    "movieReviewSnippets_GroundTruth.txt",
    "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
)


@TASKS.register
class MovieSnippets(Task):
    """Is the sentence positive? Label = sign of the mean human rating in [-4, 4]; weak opinions are dropped."""

    licence: ClassVar[str] = "MIT"
    source: ClassVar[str] = ARCHIVE + FILE
    size: ClassVar[int | None] = 10_043
    class_names: ClassVar[tuple[str, ...]] = ("negative", "positive")
    instruction: ClassVar[str] = "Say whether the opinion of the film review is negative or positive."

    kind: Literal["movie-snippets"] = "movie-snippets"
    min_mean: float = Field(
        0.5, ge=0, lt=4, description="rows whose |mean rating| is not above this are dropped"
    )

    def load(self) -> TaskRows:
        from weakstrong.data import make_rows
        from weakstrong.sources import fetch

        path = fetch(self.source, SHA256)
        texts, labels, count = [], [], 0
        # The separator is CRLF; some texts hold other line-break characters of Unicode.
        for line in path.read_bytes().decode("utf-8").split("\r\n"):
            if not line:
                continue
            fields = line.split("\t")
            if len(fields) != 3:
                raise DataError(
                    f"{path}: line {count + 1} has {len(fields)} tab-separated fields, 3 are wanted"
                )
            count += 1
            mean = float(fields[1])
            if abs(mean) > self.min_mean:
                texts.append(fields[2].strip())
                labels.append(int(mean > 0))
        dropped = count - len(texts)
        notes = (f"{dropped} of {count} sentences with |mean rating| ≤ {self.min_mean} dropped",)
        return TaskRows(make_rows(texts, labels), self.class_names, notes)

    def cached(self) -> bool:
        from weakstrong.sources import is_cached

        return is_cached(self.source)
