"""Twitter sentiment: tweets whose labels are the emoticons that stood in them.

Source: A. Go, R. Bhayani and L. Huang, "Twitter Sentiment Classification using Distant Supervision", Stanford 2009
(Sentiment140). As original files, its table is read (``training.1600000.processed.noemoticon.csv``, in Latin-1), or a
folder with ``positive.txt`` and ``negative.txt``, one tweet a line. Its small test file, labelled by hand in three
classes, is another task and is left out: test rows of the original files are drawn from the training rows.

HTML entities are undone. Tweets that differ in addressees, links and punctuation only are one group.
"""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from weakstrong.errors import DataError
from weakstrong.tasks._dataset import DatasetTask, Hub, Item, Origin
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._groups import words
from weakstrong.tasks.base import TASKS

COLUMNS = ("polarity", "id", "date", "query", "user", "text")
"""The original table has no header."""
POLARITY = {"0": 0, "4": 1}
BY_NAME = {"negative.txt": 0, "positive.txt": 1}
ADDRESS = re.compile(r"@\w+|(?:https?://|www\.)\S+")


@TASKS.register
class TwitterSentiment(DatasetTask):
    """Is this tweet negative or positive?"""

    licence: ClassVar[str] = "academic use, Twitter terms"
    source: ClassVar[str] = "hub:EleutherAI/twitter-sentiment"
    class_names: ClassVar[tuple[str, ...]] = ("negative", "positive")
    instruction: ClassVar[str] = "Say whether the mood of the tweet is negative or positive."
    hub: ClassVar[Hub] = Hub(
        "EleutherAI/twitter-sentiment",
        "main",
        {"train": "data/train-*.parquet", "test": "data/test-*.parquet"},
    )
    originals: ClassVar = {"train": ("training.*.csv", "[np]*tive.txt")}

    kind: Literal["twitter-sentiment"] = "twitter-sentiment"

    def items(self, record: Record) -> Iterable[Item]:
        label = int(record["label"])
        if label < 0:
            return
        text = html.unescape(record["text"])
        yield Item(text, label, " ".join(words(ADDRESS.sub(" ", text))) or text)

    @classmethod
    def _find(cls, folder: str) -> dict[Origin, list[DataFile]]:
        found = super()._find(folder)
        names = {file.name for file in found["train"]} & set(BY_NAME)
        if len(names) == 1:
            raise ValueError(f"{folder} holds {names.pop()} only; positive.txt and negative.txt are wanted")
        return found

    def original(self, file: DataFile) -> Iterator[Record]:
        if file.name.endswith(".csv"):
            yield from _table(file)
        elif file.name in BY_NAME:
            yield from ({**record, "label": BY_NAME[file.name]} for record in super().original(file))


def _table(file: DataFile) -> Iterator[Record]:
    """The records of Sentiment140's table, whose bytes are Latin-1."""
    with file.open() as raw, io.TextIOWrapper(raw, "latin-1", newline="") as text:
        reader = csv.reader(text)
        for row in reader:
            if len(row) != len(COLUMNS):
                raise DataError(
                    f"{file}: line {reader.line_num} has {len(row)} columns, "
                    f"{len(COLUMNS)} are wanted: {', '.join(COLUMNS)}"
                )
            record = dict(zip(COLUMNS, row, strict=True))
            yield record | {"label": POLARITY.get(record["polarity"], -1)}
