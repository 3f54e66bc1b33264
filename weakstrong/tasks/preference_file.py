"""The user's own comparisons: CSV, TSV, JSON lines, Parquet or a Hugging Face data set folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from weakstrong.errors import DataError
from weakstrong.spec import digest
from weakstrong.tasks._cells import Cell, cell, words
from weakstrong.tasks._dataset import Item
from weakstrong.tasks._preference import CLASSES, INSTRUCTION, Comparison, comparison_item
from weakstrong.tasks._table import FORMATS, read_batches
from weakstrong.tasks.base import TASKS, Task, TaskKind, TaskRows
from weakstrong.tasks.file import content_digest

PAIRS: Final = (("first", "second"), ("a", "b"), ("model_a", "model_b"), ("0", "1"), ("1", "2"))
"""Labels that are understood without `second_is`: what means the first, and the second completion."""
TIES: Final = frozenset({"tie", "tie (bothbad)", "draw", "equal", "same", "both", "neither", "0.5"})


@TASKS.register
class PreferenceFileTask(Task):
    """Comparisons of a file: columns ``chosen`` and ``rejected``, or ``first``, ``second`` and a ``label``.

    The key holds the content's SHA-256, not the path. Which text of a row comes first is drawn by a hash, whatever
    the file's order, so that position says nothing.
    """

    located: ClassVar[tuple[str, ...]] = ("path",)
    task_kind: ClassVar[TaskKind] = TaskKind.PREFERENCE
    licence: ClassVar[str] = "yours"
    source: ClassVar[str] = "file:PATH"
    class_names: ClassVar[tuple[str, ...]] = CLASSES
    instruction: ClassVar[str] = INSTRUCTION

    kind: Literal["preference-file"] = "preference-file"
    path: str = Field(description=f"the file ({FORMATS})")
    prompt: str | None = Field(None, description="column of what both texts answer; cells may be empty")
    chosen: str | None = Field(None, description="column of the preferred text")
    rejected: str | None = Field(None, description="column of the other text; empty: rejected")
    first: str | None = Field(None, description="column of one text, where a label says which is preferred")
    second: str | None = Field(None, description="column of the other text; empty: second")
    label: str | None = Field(None, description="column that names the preferred text; empty: label")
    second_is: str = Field(
        "",
        description="label that means the second text; empty: of first/second, a/b, 0/1, 1/2 or the columns' names",
    )
    group: str | None = Field(
        None, description="column whose equal values never straddle a split; empty: the prompt"
    )
    id: str | None = Field(None, description="column of unique row names")
    weak_label: str | None = Field(
        None,
        description="column of the probability that the second text is better (or chosen, where that is a column)",
    )
    context_words: int = Field(160, ge=1, description="a prompt is cut to its last words")
    limit: int = Field(20_000, ge=10, description="at most this many rows, chosen by a hash of their ids")
    sha256: str = Field("", description="of the content; filled in from the file")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        sides = {n for n in ("chosen", "rejected") if values.get(n)}
        named = {n for n in ("first", "second", "label", "second_is") if values.get(n)}
        if sides and named:
            raise ValueError(
                f"{min(sides)} and {min(named)} do not go together: name chosen and rejected, or first, second and label"
            )
        # Weak labels alone are enough to train on; only an experiment needs the truth.
        truth = () if values.get("weak_label") else ("label",)
        pair = ("first", "second", *truth) if named else ("chosen", "rejected")
        values = values | {n: values.get(n) or n for n in pair}
        path = values.get("path")
        if not path or not isinstance(path, str):
            return values  # the field's own type says what is wrong
        found = content_digest(path)
        if values.get("sha256") and values["sha256"] != found:
            raise ValueError(
                f"{path} has changed: its SHA-256 is {found[:12]}…, {values['sha256'][:12]}… wanted"
            )
        return values | {"sha256": found}

    @property
    def name(self) -> str:
        """``file:`` and the file's name without its folder."""
        return f"file:{Path(self.path).name}"

    def load(self) -> TaskRows:
        from weakstrong.data import make_rows

        table = self._read()
        texts = [self._texts(table, str(column)) for column in self._sides]
        prompts = [words(v) or "" for v in table[self.prompt]] if self.prompt else [""] * len(texts[0])
        prefers_second, notes = self._preferences(table)
        weak = self._weak(table) if self.weak_label else None
        ids = self._ids(table) if self.id else None
        rows: list[tuple[int, Item, int]] = []
        equal = 0
        for i, (prompt, one, two, right) in enumerate(zip(prompts, *texts, prefers_second, strict=True)):
            if right is None and weak is None:
                continue
            # With the second text as the preferred one, the item's label says where the second text went.
            item = comparison_item(Comparison(prompt, two, one), self.context_words)
            if item.text == item.other:
                equal += 1
                continue
            rows.append((i, item, -1 if right is None else item.label if right else 1 - item.label))
        if not rows:
            raise DataError(f"{self.path}: no row says which of two different texts is preferred")
        notes += [f"{equal} comparisons of two equal texts dropped"] if equal else []
        items = [item for _, item, _ in rows]
        groups = [str(table[self.group][i]) for i, _, _ in rows] if self.group else [x.group for x in items]
        made = make_rows(
            [item.text for item in items],
            [label for _, _, label in rows],
            ids=None if ids is None else [ids[i] for i, _, _ in rows],
            groups=groups if self.group else [digest(group)[:16] for group in groups],
            others=[item.other or "" for item in items],
            weak_NC=None if weak is None else _in_order([(weak[i], item) for i, item, _ in rows]),
        )
        if len(made) > self.limit:
            notes.append(f"{self.limit} of {len(made)} rows kept (limit)")
            order = sorted(range(len(made)), key=[digest(i) for i in made["id"].to_pylist()].__getitem__)
            made = made.take(sorted(order[: self.limit]))
        return TaskRows(made, CLASSES, tuple(notes))

    @property
    def _sides(self) -> tuple[str | None, str | None]:
        """The columns of the two texts; the second is the one that is preferred if the label says second."""
        return (self.rejected, self.chosen) if self.chosen else (self.first, self.second)

    def _read(self) -> dict[str, list[Any]]:
        named = (*self._sides, self.label, self.prompt, self.group, self.id, self.weak_label)
        columns = list(dict.fromkeys(c for c in named if c))
        table: dict[str, list[Any]] = {c: [] for c in columns}
        for batch in read_batches(Path(self.path), columns):
            for column in columns:
                table[column] += batch[column]
        return table

    def _texts(self, table: dict[str, list[Any]], column: str) -> list[str]:
        found = [words(v) for v in table[column]]
        if None in found:
            raise DataError(
                f"{self.path}: {found.count(None)} of {len(found)} rows have no text in column {column!r}, first row "
                f"{found.index(None) + 1}; fill or drop them"
            )
        return [text or "" for text in found]

    def _preferences(self, table: dict[str, list[Any]]) -> tuple[list[bool | None], list[str]]:
        """For each row whether its second text is preferred, None where neither is; notes."""
        if self.label is None:
            right = True if self.chosen else None
            return [right] * len(table[str(self._sides[0])]), []
        second_is = _plain(self.second_is) or ""
        cells = [_plain(v) for v in table[self.label]]
        ties = TIES - {second_is}
        found = sorted({c for c in cells if c is not None and c not in ties})
        # Weak labels alone will do, so a column of ground truth may still be empty.
        meaning = self._meaning(found, second_is) if found or not self.weak_label else {}
        notes = [] if second_is else [f"label {n!r} means {CLASSES[y]}" for n, y in meaning.items()]
        left_out = "without ground truth" if self.weak_label else "dropped"
        for count, what in (
            (sum(c in ties for c in cells), "ties"),
            (cells.count(None), "empty labels"),
        ):
            notes += [f"{count} {what} {left_out}"] if count else []
        return [None if c is None or c in ties else bool(meaning[c]) for c in cells], notes

    def _meaning(self, found: Sequence[str], second_is: str) -> dict[str, int]:
        where = f"{self.path}: column {self.label!r} holds {', '.join(map(repr, found[:6])) or 'no label'}"
        if len(found) > 2 or not found:
            raise DataError(
                f"{where}{' …' if len(found) > 6 else ''}; wanted one value for either text, ties left empty"
            )
        if second_is:
            if second_is not in found:
                raise DataError(f"{where}, and none of them is second_is={self.second_is!r}")
            return {name: int(name == second_is) for name in found}
        pairs = (*PAIRS, (str(self.first).lower(), str(self.second).lower()))
        fitting = {tuple(map(pair.index, found)) for pair in pairs if set(found) <= set(pair)}
        if len(fitting) != 1:
            raise DataError(
                f"{where}, which does not say which text is meant; name the value of the second text with second_is"
            )
        return dict(zip(found, fitting.pop(), strict=True))

    def _ids(self, table: dict[str, list[Any]]) -> list[str]:
        found = [words(v) for v in table[str(self.id)]]
        first: dict[str, int] = {}
        for row, name in enumerate(found, 1):
            if name is None:
                raise DataError(f"{self.path}: row {row} has no id in column {self.id!r}")
            if first.setdefault(name, row) != row:
                raise DataError(
                    f"{self.path}: id {name!r} in column {self.id!r} names rows {first[name]} and {row}"
                )
        return [name or "" for name in found]

    def _weak(self, table: dict[str, list[Any]]) -> list[float]:
        """The file's probabilities that the second text (of `_sides`) is better."""
        found = []
        for row, value in enumerate(map(cell, table[str(self.weak_label)]), 1):
            share = _share(value)
            if share is None:
                raise DataError(
                    f"{self.path}: row {row} has {value!r} in weak-label column {self.weak_label!r}; wanted the "
                    f"probability, from 0 to 1, that {'chosen' if self.chosen else 'the second text'} is better"
                )
            found.append(share)
        return found


def _plain(label: object) -> Cell:
    """A label in lower case; 1.0, which a spreadsheet makes of 1 beside empty cells, is 1.

    >>> _plain(" B "), _plain("1.0"), _plain("0.5"), _plain("")
    ('b', '1', '0.5', None)
    """
    text = cell(label)
    return None if text is None else re.sub(r"(?<=^\d)\.0+$", "", text.lower())


def _share(value: Cell) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def _in_order(found: Sequence[tuple[float, Item]]) -> npt.NDArray[np.float64]:
    """[N, 2] from the file's probabilities and items whose label says where the file's second text went."""
    second_N = np.array([p if item.label else 1 - p for p, item in found])
    return np.stack([1 - second_N, second_N], axis=1)
