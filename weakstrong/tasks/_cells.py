"""Cells of the user's columns: as text, as class names, as numbers, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from weakstrong.errors import DataError

Cell = str | None


def cell(value: object) -> Cell:
    """A value as a class name or number: 1, 1.0 and True are one; blanks and nan are None."""
    if type(value) is str:  # nearly all are
        return value.strip() or None
    if value is None or (isinstance(value, float) and value != value):
        return None
    text = (
        str(int(value))
        if isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
        else str(value).strip()
    )
    return text or None


def words(value: object) -> Cell:
    """A value as text, blanks around it kept; None if there is nothing else."""
    text = "" if value is None else str(value)
    return text if text.strip() else None


class Cells:
    """What a column holds: the first ``most`` distinct values, each with its first row, and how many cells are empty."""

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self.first: dict[str, int] = {}
        self.empty, self.first_empty = 0, 0

    def add(self, start: int, values: Sequence[Cell]) -> None:
        """Take the cells of rows ``start`` and after."""
        if missing := values.count(None):
            if not self.empty:
                self.first_empty = start + values.index(None)
            self.empty += missing
        if len(self.first) < self.most:
            new = set(values) - self.first.keys() - {None}
            for i, value in enumerate(values if new else ()):
                if value in new and value is not None:
                    new.discard(value)
                    self.first[value] = start + i
                    if not new or len(self.first) == self.most:
                        break


class Shares:
    """Whether a column can be probabilities of the second class: all numbers in [0, 1]."""

    def __init__(self) -> None:
        self.all_shares = True
        self._numbers, self._fractions = True, False
        self._beyond: tuple[int, float] | None = None

    def add(self, start: int, values: Sequence[Cell]) -> None:
        """Take the cells of rows ``start`` and after."""
        for i, value in enumerate(values):
            try:
                number = float(value or "")
            except ValueError:
                self._numbers = False
                self.all_shares = self.all_shares and value is None
                continue
            if not 0 <= number <= 1:
                self.all_shares = False
                self._beyond = self._beyond or (start + i, number)
            self._fractions = self._fractions or not number.is_integer()

    def refuse(self, path: str, column: str) -> None:
        """A column of fractions holds probabilities; one beyond [0, 1] would become a class name instead."""
        if self._numbers and self._fractions and self._beyond:
            row, number = self._beyond
            raise DataError(
                f"{path}: row {row + 1} has {number} in weak-label column {column!r}, which holds probabilities "
                "of the second class: from 0 to 1"
            )


def numbers(columns: Sequence[Sequence[Cell]]) -> npt.NDArray[np.float64]:
    return np.array([[float(v or "nan") for v in column] for column in columns]).T


def no_numbers(columns: Sequence[Sequence[Cell]]) -> Iterator[tuple[int, str]]:
    for i, row in enumerate(zip(*columns, strict=True)):
        for value in row:
            try:
                float(value or "nan")
            except ValueError as error:
                yield i, str(error)


def indices(column: pa.ChunkedArray, classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Class index of each cell, -1 for none."""
    found = pc.index_in(column, value_set=pa.array(classes, pa.large_string()))
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)
