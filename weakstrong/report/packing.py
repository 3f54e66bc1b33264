"""Plain values as compact JSON: what occurs twice is written once. A page of 1,000 cells carries 1,000 specs this way.

The form, read again by `unpacked` here and by ``web/data.js`` on the page: null, booleans, numbers and texts are
themselves; every array is ``[tag, …]``: tag ≥ 0 is a mapping with the keys ``shapes[tag]`` and the values that follow,
-1 a list, -2 a reference to the ``pool``, whose entries name only earlier ones.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

LIST, POOLED = -1, -2
SHORTEST = 12
"""Characters from which a repeated value is worth a place in the pool."""


def packed(value: Any) -> dict[str, Any]:
    """``{"shapes": …, "pool": …, "root": …}`` of plain values (str, int, float, bool, None, list, dict).

    >>> packed([{"name": "x" * 20}, {"name": "x" * 20}])
    {'shapes': [['name']], 'pool': [[0, 'xxxxxxxxxxxxxxxxxxxx']], 'root': [-1, [-2, 0], [-2, 0]]}
    """
    packer = _Packer()
    packer.read(value)
    packer.count(value)
    root = packer.form(value)
    return {"shapes": [list(shape) for shape in packer.shapes], "pool": packer.pool, "root": root}


def unpacked(form: dict[str, Any]) -> Any:
    """What `packed` was given; equal parts may be one object.

    >>> unpacked(packed({"a": [1, 2.5, None], "b": {"a": True}}))
    {'a': [1, 2.5, None], 'b': {'a': True}}
    """
    shapes, pool = form["shapes"], list[Any]()

    def value(part: Any) -> Any:
        if not isinstance(part, list):
            return part
        tag, *rest = part
        if tag == POOLED:
            return pool[rest[0]]
        values = [value(item) for item in rest]
        return values if tag == LIST else dict(zip(shapes[tag], values, strict=True))

    for entry in form["pool"]:
        pool.append(value(entry))
    return value(form["root"])


class _Packer:
    """Equal parts get one number: of a text its words, of a list or mapping the numbers of its parts."""

    def __init__(self) -> None:
        self.shapes: dict[tuple[str, ...], int] = {}
        self.pool: list[Any] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._sizes: list[int] = []
        self._of: dict[int, int] = {}  # by identity: the value is alive while it is packed
        self._uses: Counter[int] = Counter()
        self._place: dict[int, int] = {}

    def read(self, value: Any) -> tuple[int, int]:
        """Number and size (about its characters of JSON) of ``value``; those of its parts are kept too."""
        if isinstance(value, dict):
            shape = self.shapes.setdefault(tuple(value), len(self.shapes))
            parts = [self.read(part) for part in value.values()]
            number = self._number(
                (shape, *(part for part, _ in parts)), 2 + sum(size + 1 for _, size in parts)
            )
        elif isinstance(value, list):
            parts = [self.read(part) for part in value]
            number = self._number(
                (LIST, *(part for part, _ in parts)), 4 + sum(size + 1 for _, size in parts)
            )
        elif isinstance(value, str):
            number = self._number(("", value), len(value) + 2)
        else:  # 1, 1.0 and True are equal to Python, and not to a reader
            return self._number((type(value).__name__, value), 6), 6
        self._of[id(value)] = number
        return number, self._sizes[number]

    def _number(self, key: tuple[Any, ...], size: int) -> int:
        number = self._numbers.setdefault(key, len(self._sizes))
        if number == len(self._sizes):
            self._sizes.append(size)
        return number

    def count(self, value: Any) -> None:
        """Count ``value`` and, the first time, its parts: those of a repeated value are written once anyway."""
        if not isinstance(value, (dict, list, str)):
            return
        number = self._of[id(value)]
        self._uses[number] += 1
        if self._uses[number] == 1 and not isinstance(value, str):
            for part in value.values() if isinstance(value, dict) else value:
                self.count(part)

    def form(self, value: Any) -> Any:
        """``value`` with references to the pool."""
        if not isinstance(value, (dict, list, str)):
            return value
        number = self._of[id(value)]
        if self._uses[number] < 2 or self._sizes[number] < SHORTEST:
            return self._spelt(value)
        if number not in self._place:
            spelt = self._spelt(value)
            self._place[number] = len(self.pool)
            self.pool.append(spelt)
        return [POOLED, self._place[number]]

    def _spelt(self, value: Any) -> Any:
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return [LIST, *map(self.form, value)]
        return [self.shapes[tuple(value)], *map(self.form, value.values())]
