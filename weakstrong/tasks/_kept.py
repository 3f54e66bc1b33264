"""Which of many rows stay: those with the smallest digests of their ids, so the same ones in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from weakstrong.tasks._cells import Cell
from weakstrong.tasks._table import BATCH

CHUNK: Final = 2**16  # rows of a piece that is handed on


class Kept:
    """The rows with the smallest SHA-256 of their ids, in the order they came; about twice ``limit`` at a time."""

    def __init__(self, limit: int, columns: Sequence[str]) -> None:
        self.limit = limit
        self.schema = pa.schema(
            [("row", pa.int64()), ("key", pa.binary()), *((c, pa.large_string()) for c in columns)]
        )
        self._parts: list[pa.Table] = []
        self._count = 0
        self._bound: bytes | None = None

    def add(self, start: int, keys: Sequence[bytes], columns: Mapping[str, Sequence[Cell]]) -> None:
        """Take rows ``start`` and after; those beyond the bound are dropped at once."""
        values: dict[str, Any] = {"row": range(start, start + len(keys)), "key": keys, **columns}
        if (bound := self._bound) is not None:
            chosen = [i for i, key in enumerate(keys) if key < bound]
            values = {name: [column[i] for i in chosen] for name, column in values.items()}
        self._parts.append(pa.table(values, self.schema))
        self._count += len(self._parts[-1])
        if self._count > 2 * self.limit + BATCH:
            self._cut()

    def _cut(self) -> None:
        table = pa.concat_tables(self._parts)
        if len(table) > self.limit:
            order = pc.sort_indices(table["key"]).slice(0, self.limit)
            self._bound = table["key"][order[-1].as_py()].as_py()
            table = table.take(pc.take(order, pc.sort_indices(pc.take(table["row"], order))))
        self._parts, self._count = [table], len(table)

    def close(self) -> Iterator[pa.Table]:
        """The kept rows in pieces of at most `CHUNK`."""
        if self._count > self.limit:
            self._cut()
        table = pa.concat_tables(self._parts)
        self._parts = []
        return (table.slice(at, CHUNK) for at in range(0, len(table), CHUNK))
