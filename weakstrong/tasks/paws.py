"""PAWS: two sentences of nearly the same words, with the same meaning or not.

Source: Y. Zhang et al., "PAWS: Paraphrase Adversaries from Word Scrambling", NAACL 2019 (arXiv 1904.01130); the part
from Wikipedia with the final labels. Original files are tab-separated (``final/train.tsv``, ``final/test.tsv``); in those
of the part from Quora, texts stand as Python byte strings, which are undone.

Pairs were made from one sentence by swapping words (the words are the same) and by translating back (some differ), and
a sentence may stand in several pairs. Pairs are chained where any of their sentences have the same words, counted and
without regard to order, so no sentence nor any scrambling of it is in two groups.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal

from weakstrong.errors import DataError
from weakstrong.tasks._dataset import Hub, Item
from weakstrong.tasks._files import DataFile, Record
from weakstrong.tasks._groups import GroupedTask, chained, group_of, words
from weakstrong.tasks.base import TASKS

SENTENCES = ("sentence1", "sentence2")


@TASKS.register
class Paws(GroupedTask):
    """Do the two sentences mean the same?"""

    licence: ClassVar[str] = "free for any purpose (Google LLC)"
    source: ClassVar[str] = "hub:google-research-datasets/paws"
    class_names: ClassVar[tuple[str, ...]] = ("different", "same")
    published: ClassVar[int | None] = 57_401
    instruction: ClassVar[str] = "Say whether the two sentences mean something different or the same."
    hub: ClassVar[Hub] = Hub(
        "google-research-datasets/paws",
        "161ece9501cf0a11f3e48bd356eaa82de46d6a09",
        {"train": "labeled_final/train-*.parquet", "test": "labeled_final/test-*.parquet"},
    )
    originals: ClassVar = {"train": ("train.tsv",), "test": ("test.tsv", "dev_and_test.tsv")}

    kind: Literal["paws"] = "paws"

    def groups(self, held: Sequence[Record]) -> list[str]:
        return chained([[_bag(record.get(name)) for name in SENTENCES] for record in held])

    def items(self, record: Record) -> Iterable[Item]:
        first, second = (record[name] for name in SENTENCES)
        yield Item(
            f"Sentence 1: {first}\nSentence 2: {second}",
            int(record["label"]),
            group_of(record, _bag(first)),
        )

    def original(self, file: DataFile) -> Iterator[Record]:
        for record in super().original(file):
            unwrapped = {name: _unwrapped(file, record[name]) for name in SENTENCES if name in record}
            yield record | unwrapped


def _bag(sentence: object) -> str:
    """The words of a sentence in alphabetical order."""
    return " ".join(sorted(words(sentence)))


def _unwrapped(file: DataFile, text: str) -> str:
    """The text of ``b'…'``; any other text as it is."""
    if len(text) < 3 or text[0] != "b" or text[1] not in "'\"" or text[-1] != text[1]:
        return text
    try:
        return ast.literal_eval(text).decode()  # type: ignore[no-any-return]
    except (SyntaxError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: {text[:80]!r} is no byte string of UTF-8 text") from error
