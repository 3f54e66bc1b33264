"""Public data sets as tasks: records from the hub or from the original files, items, rows.

A task's file says where its records lie and how one becomes items; everything else is here.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from weakstrong.errors import DataError
from weakstrong.tasks._files import DataFile, Record, find_files, records
from weakstrong.tasks.base import Task, TaskRows

if TYPE_CHECKING:
    import pyarrow as pa

Origin = str
"""``train``, or ``test`` for the rows that the data set's authors set aside (its validation part, where the labels
of the test part are not public)."""


@dataclass(frozen=True)
class Hub:
    """A data set on the hub: repository, pinned commit, and the glob pattern of each part's files."""

    repo: str
    revision: str
    files: Mapping[Origin, str]


@dataclass(frozen=True, slots=True)
class Item:
    """One row to be: its text, class index, and the group it never leaves.

    ``other`` is the second completion of a comparison; ``weak`` holds class probabilities of ready supervisors by name.
    """

    text: str
    label: int
    group: str
    other: str | None = None
    weak: Mapping[str, Sequence[float]] = field(default_factory=dict)


class DatasetTask(Task):
    """A public data set, from the hub at a pinned commit, or from its original files in ``data_dir``.

    Records of both have the hub's fields: `original` brings an original file into that form. The labelled rows of
    the parts named in `hub` are used; where it has a test part of its own, test rows come from there.
    """

    located: ClassVar[tuple[str, ...]] = ("data_dir",)
    hub: ClassVar[Hub]
    originals: ClassVar[Mapping[Origin, tuple[str, ...]]]
    """By origin, glob patterns of the original files' names; the first that matches anything counts."""
    unusable: ClassVar[str] = "records without a usable label"
    """What notes call records that make no row."""

    data_dir: str | None = Field(None, description="folder with the original files; empty: the hub")
    revision: str = Field("", description="hub commit or branch; empty: the pinned one")
    sha256: str = Field("", description="of the original files; filled in")
    limit: int = Field(20_000, ge=10, description="rows kept of each part, whole groups, chosen by hash")
    context_words: int = Field(
        160,
        ge=1,
        description="a passage is cut to its first words, so that the question after it is not cut off",
    )

    @model_validator(mode="before")
    @classmethod
    def _pin(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        folder = values.get("data_dir")
        if folder is None:
            return values | {"revision": values.get("revision") or cls.hub.revision}
        if not isinstance(folder, str):
            return values  # the field's own type says what is wrong
        found = _digest([f for files in cls._find(folder).values() for f in files])
        if values.get("sha256") and values["sha256"] != found:
            raise ValueError(
                f"the files in {folder} have changed: SHA-256 {found[:12]}…, {values['sha256'][:12]}… wanted"
            )
        return values | {"sha256": found, "revision": ""}

    @classmethod
    def _find(cls, folder: str) -> dict[Origin, list[DataFile]]:
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise ValueError(f"{folder} is not a folder")
        found = {origin: find_files(path, patterns) for origin, patterns in cls.originals.items()}
        found = {origin: files for origin, files in found.items() if files}
        if not found:
            wanted = "; ".join(f"{origin}: {' or '.join(p)}" for origin, p in cls.originals.items())
            here = ", ".join(sorted(p.name for p in path.iterdir())[:12]) or "nothing"
            raise ValueError(f"{folder} holds none of the original files (wanted {wanted}; found {here})")
        return found

    # --- what a task says

    @abstractmethod
    def items(self, record: Record) -> Iterable[Item]:
        """The rows of one record, in the hub's fields; none, for a record without a label."""

    def original(self, file: DataFile) -> Iterable[Record]:
        """The records of an original file, in the hub's fields."""
        return records(file)

    def hub_files(self) -> Mapping[Origin, str]:
        """The glob pattern of each part's files on the hub; overridden where a field chooses among files."""
        return self.hub.files

    # --- what is the same for all

    def cached(self) -> bool:
        from weakstrong.sources import is_dataset_cached

        return self.data_dir is not None or is_dataset_cached(
            self.hub.repo, self.revision, tuple(self.hub_files().values())
        )

    def records(self) -> Iterator[tuple[Origin, DataFile, Record]]:
        """All records, part by part, with the file that each comes from."""
        if self.data_dir is not None:
            for origin, files in self._find(self.data_dir).items():
                for file in files:
                    yield from ((origin, file, record) for record in self.original(file))
            return
        folder = self._snapshot()
        for origin, pattern in self.hub_files().items():
            paths = sorted(folder.glob(pattern))
            if not paths:
                raise DataError(f"{self.name}: {self.hub.repo}@{self.revision} has no files {pattern}")
            for path in paths:
                file = DataFile(path)
                yield from ((origin, file, record) for record in records(file))

    def _snapshot(self) -> Path:
        """The hub's files on this machine; the folder's name is the commit, also where a branch was asked for."""
        from weakstrong.sources import fetch_dataset

        return fetch_dataset(self.hub.repo, self.revision, tuple(self.hub_files().values()))

    def load(self) -> TaskRows:
        kept = {origin: _Kept(self.limit) for origin in ("train", "test")}
        seen: set[bytes] = set()
        dropped: Counter[str] = Counter()
        number = 0
        for origin, file, record in self.records():
            try:
                made = list(self.items(record))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise DataError(
                    f"{self.name}: {file} holds a record of another form ({_said(error)}): {_short(record)}"
                ) from error
            if not made:
                dropped[self.unusable] += 1
            for item in made:
                item = _clean(item)
                if not item.text or item.other == "":
                    dropped["empty texts"] += 1
                    continue
                if item.other == item.text:
                    dropped["comparisons of two equal texts"] += 1
                    continue
                mark = hashlib.sha256(f"{item.text}\0{item.other}".encode()).digest()[:12]
                if mark in seen:
                    dropped["repeated texts"] += 1
                    continue
                seen.add(mark)
                number += 1
                kept[origin].add(number, item)
        notes = [] if self.data_dir is not None else [f"hub {self.hub.repo}@{self._snapshot().name[:12]}"]
        notes += [f"{count} {what} dropped" for what, count in dropped.items()]
        notes += [
            f"{k.total - k.count} of {k.total} {o} rows left out (limit)"
            for o, k in kept.items()
            if k.close()
        ]
        return TaskRows(self._table(kept), self.class_names, tuple(notes))

    def _table(self, kept: Mapping[Origin, _Kept]) -> pa.Table:
        import numpy as np
        import pyarrow as pa

        from weakstrong.data import check_probabilities, make_rows, text_id

        rows = [(item, origin) for origin, part in kept.items() for item in part.items()]
        if not rows:
            raise DataError(f"{self.name}: no labelled rows were found in {self.data_dir or self.hub.repo}")
        items = [item for item, _ in rows]
        others = None if items[0].other is None else [item.other or "" for item in items]
        table = make_rows(
            [item.text for item in items],
            [item.label for item in items],
            groups=[text_id(item.group) for item in items],
            others=others,
        )
        table = table.append_column("origin", pa.array([origin for _, origin in rows], pa.string()))
        for name in sorted(set.intersection(*(set(item.weak) for item in items))):
            probs_NC = np.array([item.weak[name] for item in items], dtype=np.float64)
            check_probabilities(probs_NC, f"{self.name}: stored labels of {name}")
            for c in range(probs_NC.shape[1]):
                table = table.append_column(f"weak.{name}.{c}", pa.array(probs_NC[:, c].astype(np.float32)))
        return table

    def context(self, text: str) -> str:
        """A passage in one line, cut to its first ``context_words`` words."""
        words = text.split()
        return " ".join(words[: self.context_words]) + (" …" if len(words) > self.context_words else "")


class _Kept:
    """The items of the groups with the smallest hashes, at most about twice ``limit`` in memory at a time."""

    def __init__(self, limit: int) -> None:
        self.limit, self.count, self.total = limit, 0, 0
        self._groups: dict[bytes, list[tuple[int, Item]]] = {}
        self._bound = b"\xff" * 33

    def add(self, number: int, item: Item) -> None:
        """Take an item, unless its group is beyond those that can still be kept."""
        self.total += 1
        name = hashlib.sha256(item.group.encode()).digest()
        if name >= self._bound:
            return
        self._groups.setdefault(name, []).append((number, item))
        self.count += 1
        if self.count > 2 * self.limit + 1000:
            self.close()

    def close(self) -> bool:
        """Cut down to the limit; whether anything was left out."""
        if self.count > self.limit:
            count = 0
            for name in sorted(self._groups):
                if count + len(self._groups[name]) > self.limit:
                    self._bound = min(self._bound, name)
                if name >= self._bound:
                    del self._groups[name]
                else:
                    count += len(self._groups[name])
            self.count = count
        return self.count < self.total

    def items(self) -> list[Item]:
        """What is kept, in the order it came."""
        return [
            item
            for _, item in sorted(
                (pair for group in self._groups.values() for pair in group), key=lambda p: p[0]
            )
        ]


def choices(
    stem: str,
    answers: Sequence[str],
    right: Iterable[int],
    group: str,
    form: str = "{stem}\nAnswer: {answer}",
) -> list[Item]:
    """Question and answer rows, label 1 for a right answer, equally many right and wrong ones (paper, A.1).

    Which answers stay is decided by hashes of their texts, so the same on every machine.

    >>> [(i.text, i.label) for i in choices("2 + 2?", ["3", "4", "5"], {1}, "sum", "{stem} {answer}")]
    [('2 + 2? 4', 1), ('2 + 2? 5', 0)]
    """
    rights = set(right)
    order = sorted(
        range(len(answers)), key=lambda i: hashlib.sha256(f"{stem}\0{answers[i]}".encode()).digest()
    )
    each = min(len(rights), len(answers) - len(rights))
    yes, no = ([i for i in order if (i in rights) is wanted][:each] for wanted in (True, False))
    return [
        Item(form.format(stem=stem, answer=answers[i]), int(i in rights), group) for i in sorted(yes + no)
    ]


def _clean(item: Item) -> Item:
    text, other = (None if t is None else _tidy(t) for t in (item.text, item.other))
    return Item(text or "", item.label, item.group, other, item.weak)


def _tidy(text: str) -> str:
    """Without tabs, carriage returns and blanks at the ends of lines."""
    return "\n".join(" ".join(line.split()) for line in text.replace("\r", "\n").split("\n")).strip()


def _digest(files: Sequence[DataFile]) -> str:
    total = hashlib.sha256()
    for file in files:
        with file.open() as raw:
            total.update(f"{file.name}:{hashlib.file_digest(raw, 'sha256').hexdigest()}\n".encode())  # type: ignore[arg-type]
    return total.hexdigest()


def _said(error: Exception) -> str:
    return f"field {error} is missing" if isinstance(error, KeyError) else str(error)


def _short(record: Record) -> str:
    text = str(record)
    return text if len(text) <= 200 else f"{text[:200]} …"
