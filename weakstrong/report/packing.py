"""Plain values as compact JSON: what occurs twice is written once. A page of 1,000 cells carries 1,000 specs this way.

The form, read again by `unpacked` here and by ``web/data.js`` on the page: null, booleans, numbers and texts are
themselves; every array is ``[tag, …]``: tag ≥ 0 is a mapping with the keys ``shapes[tag]`` and the values that follow,
-1 a list, -2 a reference to the ``pool``, whose entries name only earlier ones.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

LIST, POOLED = -1, -2
SHORTEST = 12
"""Characters of JSON from which a repeated value is worth a place in the pool."""


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
    shapes, pool = form["shapes"], []

    def value(part: Any) -> Any:
        if not isinstance(part, list):
            return part
        tag, *rest = part
        if tag == POOLED:
            return pool[rest[0]]
        values = [value(item) for item in rest]
        return values if tag == LIST else dict(zip(shapes[tag], values, strict=True))

    for entry in form["pool"]:
        pool.append(value(entry))  # noqa: PERF401: an entry reads those before it
    return value(form["root"])


class _Packer:
    def __init__(self) -> None:
        self.shapes: dict[tuple[str, ...], int] = {}
        self.pool: list[Any] = []
        self._texts: dict[int, str] = {}  # JSON by identity: the value is alive while it is packed
        self._uses: Counter[str] = Counter()
        self._place: dict[str, int] = {}

    def read(self, value: Any) -> str:
        """JSON of ``value``, kept for it and for its parts."""
        if isinstance(value, dict):
            text = "{" + ",".join(f"{json.dumps(k)}:{self.read(v)}" for k, v in value.items()) + "}"
        elif isinstance(value, list):
            text = "[" + ",".join(map(self.read, value)) + "]"
        else:
            text = json.dumps(value)
            if not isinstance(value, str):
                return text
        self._texts[id(value)] = text
        return text

    def count(self, value: Any) -> None:
        """Count ``value`` and, the first time, its parts: those of a repeated value are written once anyway."""
        if not isinstance(value, (dict, list, str)):
            return
        text = self._texts[id(value)]
        self._uses[text] += 1
        if self._uses[text] == 1 and not isinstance(value, str):
            for part in value.values() if isinstance(value, dict) else value:
                self.count(part)

    def form(self, value: Any) -> Any:
        if not isinstance(value, (dict, list, str)):
            return value
        text = self._texts[id(value)]
        if self._uses[text] < 2 or len(text) < SHORTEST:
            return self._spelt(value)
        if text not in self._place:
            spelt = self._spelt(value)
            self._place[text] = len(self.pool)
            self.pool.append(spelt)
        return [POOLED, self._place[text]]

    def _spelt(self, value: Any) -> Any:
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return [LIST, *map(self.form, value)]
        shape = self.shapes.setdefault(tuple(value), len(self.shapes))
        return [shape, *map(self.form, value.values())]
