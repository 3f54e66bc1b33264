"""One pass over the user's rows: every row is checked, and those that are kept are the only ones in memory.

Of each row some 80 bytes stay: a digest of its name, with how often it came. What is wrong is noted where it is first
seen and raised after the last row, when it can be said how many rows have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weakstrong.data import check_probabilities, make_rows, one_hot, text_id
from weakstrong.errors import DataError
from weakstrong.tasks._cells import Cell, Cells, Shares, cell, indices, no_numbers, numbers, words
from weakstrong.tasks._kept import Kept
from weakstrong.tasks._table import Batch, read_batches
from weakstrong.tasks.base import TaskRows

if TYPE_CHECKING:
    from weakstrong.tasks.file import FileTask

MOST_CLASSES: Final = 1000
MOST_VOTED: Final = 127  # the last class index that an int8 holds, and one more


class Joined:
    """The weak-label columns of a second file, joined by id."""

    def __init__(self, path: str, id: str, columns: Sequence[str]) -> None:
        self.path = path
        self._place: dict[str, int] = {}
        parts: dict[str, list[pa.Array]] = {c: [] for c in columns}
        for batch in read_batches(Path(path), [id, *columns]):
            for value in batch[id]:
                name = words(value)
                if name is None:
                    raise DataError(f"{path}: row {len(self._place) + 1} has no id in column {id!r}")
                if name in self._place:
                    raise DataError(f"{path}: ids appear twice in column {id!r}, first {name!r}")
                self._place[name] = len(self._place)
            for c in columns:
                parts[c].append(pa.array(map(cell, batch[c]), pa.large_string()))
        self._columns = {c: pa.concat_arrays(p) for c, p in parts.items()}
        self._used = np.zeros(len(self._place), bool)

    def cells(self, ids: Sequence[Cell]) -> Batch:
        """The cells of each id, None where this file has none."""
        places = [None if name is None else self._place.get(name) for name in ids]
        self._used[[p for p in places if p is not None]] = True
        at = pa.array(places, pa.int64())
        return {c: column.take(at).to_pylist() for c, column in self._columns.items()}

    def refuse_strangers(self, path: str) -> None:
        """Ids that the rows of ``path`` do not have come from another table, or are written in another way."""
        strangers = [name for name, place in self._place.items() if not self._used[place]]
        if strangers:
            raise DataError(
                f"{self.path} has weak labels for {len(strangers)} rows that do not exist in {path}, "
                f"first id {min(strangers)!r}"
            )


class Scan:
    """Takes batch after batch, then gives the task's rows or says what is wrong with them."""

    def __init__(self, task: FileTask) -> None:
        self.task, self.path = task, task.path
        most = max(MOST_CLASSES, len(task.classes)) + 1
        self.total = 0
        self.texts, self.ids, self.paraphrases = Cells(), Cells(), Cells()
        self.labels = Cells(most)
        self.weak = {c: Cells(most) for c in task.weak_label}
        self.raters = {c: Cells(most) for c in task.rater}
        self.shares = Shares()
        self.bad_numbers = self.bad_probabilities = ""
        self.silent, self.first_silent = 0, 0  # rows with neither label nor vote
        self.seen: dict[int, int] = {}
        self.repeated: set[int] = set()
        names = ["id", "group", "text", "label", "paraphrase"]
        names += [f"weak {c}" for c in self.weak] + [f"rater {c}" for c in self.raters]
        self.kept = Kept(task.limit, names)
        self.joined = (
            Joined(task.weak_labels_path, task.id, task.weak_label)
            if task.weak_labels_path and task.id
            else None
        )

    def columns(self) -> list[str]:
        """The columns of the file that are read."""
        task = self.task
        named = [task.text, task.label, task.group, task.id, task.paraphrase]
        return [c for c in (*named, *(() if self.joined else task.weak_label), *task.rater) if c]

    # --- every row

    def add(self, batch: Batch) -> None:
        """Check the next rows, and keep those whose ids have small digests."""
        task, start = self.task, self.total
        texts = [words(v) for v in batch[task.text]]
        self.total += len(texts)
        self.texts.add(start, texts)
        names = [text_id(text or "") for text in texts] if task.id is None or task.group is None else []
        ids, keys = self._named(names, batch)
        columns: dict[str, Sequence[Cell]] = {
            "id": ids,
            # Rows without a group are one group.
            "group": names if task.group is None else [str(v) for v in batch[task.group]],
            "text": texts,
            "label": self._cells(batch, task.label),
            "paraphrase": (
                [None] * len(texts) if task.paraphrase is None else [words(v) for v in batch[task.paraphrase]]
            ),
        }
        if task.label is not None:
            self.labels.add(start, columns["label"])
        if task.paraphrase is not None:
            self.paraphrases.add(start, columns["paraphrase"])
        source = batch if self.joined is None else self.joined.cells(ids)
        weak = {c: self._cells(source, c) for c in task.weak_label}
        votes = {c: self._cells(batch, c) for c in task.rater}
        self._check_weak(start, weak)
        self._check_votes(start, votes, columns["label"])
        columns |= {f"weak {c}": v for c, v in weak.items()} | {f"rater {c}": v for c, v in votes.items()}
        self.kept.add(start, keys, columns)

    def _cells(self, batch: Batch, column: str | None) -> list[Cell]:
        rows = len(next(iter(batch.values())))
        return [None] * rows if column is None else [cell(v) for v in batch[column]]

    def _named(self, names: Sequence[str], batch: Batch) -> tuple[list[Cell], list[bytes]]:
        """Ids and their digests; a repeated text has its number behind its name."""
        ids: list[Cell] = []
        if self.task.id is None:
            for name in names:
                mark = int(name, 16)
                count = self.seen[mark] = self.seen.get(mark, 0) + 1
                ids.append(name if count == 1 else f"{name}-{count}")
            return ids, [sha256((name or "").encode()).digest() for name in ids]
        ids = [words(v) for v in batch[self.task.id]]
        self.ids.add(self.total - len(ids), ids)
        keys = [sha256((name or "").encode()).digest() for name in ids]
        for key in keys:
            mark = _mark(key)
            if mark in self.seen:
                self.repeated.add(mark)
            self.seen[mark] = 1
        return ids, keys

    def _check_weak(self, start: int, weak: dict[str, list[Cell]]) -> None:
        for name, values in weak.items():
            self.weak[name].add(start, values)
        columns = list(weak.values())
        if len(columns) == 1:
            self.shares.add(start, columns[0])
        if len(columns) < 2 or self.bad_numbers or self.bad_probabilities or any(None in c for c in columns):
            return
        try:
            values_NC = numbers(columns)
        except ValueError:
            row, why = next(no_numbers(columns))
            self.bad_numbers = f"row {start + row + 1}: {why}"
            return
        try:
            check_probabilities(values_NC, "weak labels")
        except DataError:
            # Once more with good rows in front, so that the message counts from the first row of the file.
            before = np.full((start, len(columns)), 1 / len(columns))
            try:
                check_probabilities(np.concatenate([before, values_NC]), f"{self.path}: weak labels")
            except DataError as error:
                self.bad_probabilities = str(error)

    def _check_votes(self, start: int, votes: dict[str, list[Cell]], labels: Sequence[Cell]) -> None:
        for name, values in votes.items():
            self.raters[name].add(start, values)
        if votes:
            silent = [
                i
                for i, label in enumerate(labels)
                if label is None and all(column[i] is None for column in votes.values())
            ]
            if silent and not self.silent:
                self.first_silent = start + silent[0]
            self.silent += len(silent)

    # --- after the last row

    def rows(self) -> TaskRows:
        """The kept rows.

        Raises:
            DataError: for the first thing that is wrong: classes, labels, weak labels, votes, texts, ids, paraphrases.
        """
        task = self.task
        if self.joined:
            self.joined.refuse_strangers(self.path)
        if len(self.weak) == 1:
            self.shares.refuse(self.path, task.weak_label[0])
        classes = task.classes or self._classes()
        self._refuse_labels(classes)
        by_name = bool(self.weak) and self._refuse_weak(classes)
        self._refuse_votes(classes)
        self._refuse_texts()
        self.seen = {}
        table = pa.concat_tables(self._final(part, classes, by_name) for part in self.kept.close())
        notes = (f"{task.limit} of {self.total} rows kept (limit)",) if self.total > task.limit else ()
        return TaskRows(table, tuple(classes), notes)

    def _classes(self) -> tuple[str, ...]:
        found = set(self.labels.first).union(*(r.first for r in self.raters.values()))
        if len(self.weak) > 1 and len(found) != len(self.weak):
            return tuple(c.removeprefix("p_") for c in self.weak)
        if len(self.weak) == 1:
            if not self.shares.all_shares:
                found |= next(iter(self.weak.values())).first.keys()
            if not found:
                found = {"0", "1"}
        if len(found) < 2:
            raise DataError(
                f"{self.path}: only one class is present ({sorted(found)}); two or more are needed"
            )
        if len(found) > MOST_CLASSES:
            sizes = {c: len(cells.first) for c, cells in (self.weak | self.raters).items()}
            sizes |= {self.task.label: len(self.labels.first)} if self.task.label else {}
            raise DataError(
                f"{self.path}: more than {MOST_CLASSES} different labels; is {max(sizes, key=sizes.__getitem__)!r} "
                "really a class column?"
            )
        return tuple(sorted(found))

    def _refuse_labels(self, classes: Sequence[str]) -> None:
        task = self.task
        self._refuse_unknown(self.labels, task.label, classes)
        if task.label is not None and not task.weak_label and not task.rater and self.labels.empty:
            raise DataError(
                f"{self.path}: row {self.labels.first_empty + 1} has no value in label column {task.label!r}; "
                f"{self.labels.empty} of {self.total} rows have none; fill or drop them, or name columns of weak "
                "labels or raters"
            )

    def _refuse_unknown(self, cells: Cells, column: str | None, classes: Sequence[str]) -> None:
        for value, row in cells.first.items():
            if value not in classes:
                raise DataError(
                    f"{self.path}: row {row + 1}, column {column!r}: {value!r} is none of the classes {list(classes)}"
                )

    def _refuse_weak(self, classes: Sequence[str]) -> bool:
        """Whether the weak labels are class names."""
        for name, cells in self.weak.items():
            if cells.empty:
                raise DataError(
                    f"{self.path}: row {cells.first_empty + 1} has no weak label in column {name!r}; "
                    f"{cells.empty} of {self.total} rows have none"
                )
        if len(self.weak) == 1:
            name, cells = next(iter(self.weak.items()))
            if cells.first.keys() <= set(classes) or not self.shares.all_shares:
                self._refuse_unknown(cells, name, classes)
                return True
            if len(classes) != 2:
                raise DataError(
                    f"{self.path}: one column of probabilities fits two classes, found {len(classes)}"
                )
            return False
        if self.bad_numbers:
            raise DataError(f"{self.path}: weak-label columns {', '.join(self.weak)}: {self.bad_numbers}")
        if len(self.weak) != len(classes):
            raise DataError(
                f"{self.path}: {len(self.weak)} weak-label columns for {len(classes)} classes {classes}"
            )
        if self.bad_probabilities:
            raise DataError(self.bad_probabilities)
        return False

    def _refuse_votes(self, classes: Sequence[str]) -> None:
        for name, cells in self.raters.items():
            self._refuse_unknown(cells, name, classes)
        if self.raters and len(classes) > MOST_VOTED:
            raise DataError(
                f"{self.path}: raters choose among at most {MOST_VOTED} classes, found {len(classes)}"
            )
        if self.silent:
            raise DataError(
                f"{self.path}: row {self.first_silent + 1} has neither a label nor a vote in the rater columns "
                f"{', '.join(map(repr, self.raters))}; {self.silent} of {self.total} rows have neither; drop them"
            )

    def _refuse_texts(self) -> None:
        task = self.task
        if self.texts.empty:
            raise DataError(
                f"{self.path}: {self.texts.empty} of {self.total} texts are empty, first in row "
                f"{self.texts.first_empty + 1}; fill or drop them"
            )
        if self.ids.empty:
            raise DataError(
                f"{self.path}: row {self.ids.first_empty + 1} has no id in column {task.id!r}; {self.ids.empty} of "
                f"{self.total} rows have none"
            )
        if self.repeated:
            name, rows = self._first_repeated()
            raise DataError(
                f"{self.path}: {self.total - len(self.seen)} ids appear twice, first {name!r} (rows "
                f"{' and '.join(map(str, rows))}); every row needs an id of its own"
            )
        if self.paraphrases.empty:
            raise DataError(
                f"{self.path}: row {self.paraphrases.first_empty + 1} has no paraphrase in column "
                f"{task.paraphrase!r}; {self.paraphrases.empty} of {self.total} rows have none"
            )

    def _first_repeated(self) -> tuple[str, list[int]]:
        """The first id that comes again, and its first two rows; ids are not kept, so the file is read once more."""
        assert self.task.id is not None
        name, row = "", 0
        rows: list[int] = []
        for batch in read_batches(Path(self.path), [self.task.id]):
            for value in batch[self.task.id]:
                row += 1
                text = words(value) or ""
                if rows and text != name:
                    continue
                if rows or _mark(sha256(text.encode()).digest()) in self.repeated:
                    name, rows = text, [*rows, row]
                    if len(rows) == 2:
                        return name, rows
        return name, rows

    def _final(self, part: pa.Table, classes: Sequence[str], by_name: bool) -> pa.Table:
        """The ``rows`` table of some kept rows."""
        weak_NC = self._weak(part, classes, by_name) if self.weak else None
        table = make_rows(
            part["text"].to_pylist(),
            indices(part["label"], classes).tolist(),
            ids=part["id"].to_pylist(),
            groups=part["group"].to_pylist(),
            weak_NC=weak_NC,
        )
        if self.task.paraphrase is not None:
            table = table.append_column("paraphrase", pa.array(part["paraphrase"].to_pylist(), pa.string()))
        if self.raters:
            votes_NR = np.stack([indices(part[f"rater {c}"], classes) for c in self.raters], axis=1)
            table = table.append_column("votes", pa.array(votes_NR.tolist(), pa.list_(pa.int8())))
        return table

    def _weak(self, part: pa.Table, classes: Sequence[str], by_name: bool) -> npt.NDArray[np.float64]:
        by_class = {c.removeprefix("p_"): c for c in self.weak}
        # Columns named after the classes go by name, whatever order they were given in.
        names = [by_class[c] for c in classes] if set(by_class) == set(classes) else list(self.weak)
        if by_name:
            return one_hot(indices(part[f"weak {names[0]}"], classes), len(classes)).astype(float)
        values_NC = numbers([part[f"weak {c}"].to_pylist() for c in names])
        return np.concatenate([1 - values_NC, values_NC], axis=1) if len(names) == 1 else values_NC


def _mark(key: bytes) -> int:
    """Twelve bytes of a digest: enough that no two of a billion ids meet."""
    return int.from_bytes(key[:12])
