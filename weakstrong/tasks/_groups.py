"""Groups that show only when all records of a data set are known: chains of shared texts, phrases of a sentence.

A group never straddles the halves, so its rule decides what a supervisor and a student can have in common.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence

from weakstrong.tasks._dataset import DatasetTask, Origin
from weakstrong.tasks._files import DataFile, Record

GROUP = "group"
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


class GroupedTask(DatasetTask):
    """A data set whose groups depend on all its records; all of them lie in memory at once.

    `records` gives each record its group under `GROUP`; `items` takes it from there (`group_of`).
    """

    @abstractmethod
    def groups(self, held: Sequence[Record]) -> list[str]:
        """The group of each record. A field that is missing counts as empty here: `items` names it."""

    def records(self) -> Iterator[tuple[Origin, DataFile, Record]]:
        held = list(super().records())
        names = self.groups([record for _, _, record in held])
        for (origin, file, record), name in zip(held, names, strict=True):
            yield origin, file, {**record, GROUP: name}


def group_of(record: Record, otherwise: str) -> str:
    """The group that `GroupedTask.records` wrote into a record; ``otherwise``, for a record by itself."""
    return str(record.get(GROUP, otherwise))


def words(text: object) -> list[str]:
    """The words of a text in lower case, without punctuation; none where there is no text.

    >>> words("I didn't, Bob!")
    ['i', "didn't", 'bob']
    """
    return WORD.findall(text.lower()) if isinstance(text, str) else []


def chained(keys: Sequence[Sequence[str]]) -> list[str]:
    """For each row, the name of its chain: rows that share a key are one chain, also by way of other rows.

    A chain is called by its smallest key, so the order of rows does not matter.

    >>> chained([["a", "b"], ["c"], ["b", "d"], ["d"]])
    ['a', 'c', 'a', 'a']
    """
    above: dict[str, str] = {}

    def top(key: str) -> str:
        while (parent := above.setdefault(key, key)) != key:
            above[key] = above[parent]
            key = parent
        return key

    for row in keys:
        for key in row[1:]:
            low, high = sorted((top(row[0]), top(key)))
            above[high] = low
    return [top(row[0]) for row in keys]


def containing(texts: Sequence[str]) -> list[str]:
    """For each text, the longest text (in words, the first by alphabet of equals) that holds it word by word.

    >>> containing(["a fine film", "fine", "a dull fine film", "dull"])
    ['a fine film', 'a dull fine film', 'a dull fine film', 'a dull fine film']
    """
    every = set(texts)
    holder: dict[str, str] = {}
    for text in sorted(every, key=lambda t: (-len(t.split()), t)):
        if text in holder:
            continue
        holder[text] = text
        parts = text.split()
        for i in range(len(parts)):
            for j in range(i + 1, len(parts) + 1):
                if (phrase := " ".join(parts[i:j])) in every:
                    holder.setdefault(phrase, text)
    return [holder[text] for text in texts]
