"""What decides a number, as a frozen value with one canonical text and one key.

A `Spec` holds only what changes results. How something runs (device, processes, micro-batch, where the store
lies) never enters a spec's key; a field that says *where* rather than *what* is named in ``located``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from enum import Enum
from functools import cache, cached_property
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from weakstrong.errors import ConfigError
from weakstrong.redact import without_secrets

_json = json.JSONEncoder(ensure_ascii=False).encode


def canonical(value: object, path: str = "$") -> str:
    """Return the one JSON text of ``value``; refuse what has no canonical form.

    Keys are sorted, there is no white space, floats use the shortest text that round-trips, and numpy or torch
    scalars, sets and arbitrary objects raise.

    >>> canonical({"b": 1, "a": (0.5, None)})
    '{"a":[0.5,null],"b":1}'
    >>> canonical({1, 2})
    Traceback (most recent call last):
    weakstrong.errors.ConfigError: $: set has no canonical form; use a list, tuple, dict, str, number, bool or Spec

    Raises:
        ConfigError: for a value of another type or a float that is not finite; the message has its path.
    """
    if type(value) is str:  # by far the most frequent; plans hold millions
        return _json(value)
    if isinstance(value, Enum):
        return canonical(value.value, path)
    if isinstance(value, Spec):
        return value.canonical_json
    if value is None or isinstance(value, (bool, str)):
        return _json(value)
    if type(value) is int:
        return str(value)
    if type(value) is float:
        if not math.isfinite(value):
            raise ConfigError(f"{path}: {value} is not a finite number")
        return repr(value + 0.0)  # -0.0 equals 0.0 and must read the same
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(canonical(v, f"{path}[{i}]") for i, v in enumerate(value)) + "]"
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise ConfigError(f"{path}: the key {name!r} is not a string")
        parts = (f"{_json(k)}:{canonical(value[k], f'{path}.{k}')}" for k in sorted(value))
        return "{" + ",".join(parts) + "}"
    raise ConfigError(
        f"{path}: {type(value).__name__} has no canonical form; use a list, tuple, dict, str, number, bool or Spec"
    )


def digest(text: str) -> str:
    """SHA-256 of ``text`` in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


class Spec(BaseModel):
    """A frozen description. Subclasses carry a ``kind`` literal so that two empty specs never look alike.

    Unknown fields and numbers that are not finite are refused. Equal specs have equal keys in every process and
    on every machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    located: ClassVar[tuple[str, ...]] = ()
    """Fields that say where a thing lies, not what it is: kept in files, left out of the key."""

    @cached_property
    def canonical_json(self) -> str:
        """The text that is hashed: every field but the ``located`` ones, defaults too, whatever the subclass."""
        fields = _hashed_fields(type(self))
        return "{" + ",".join([f'"{f}":{canonical(getattr(self, f), f)}' for f in fields]) + "}"

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some fields changed; cached texts are dropped, or the copy would keep the old key."""
        return super().model_copy(update=update, deep=deep)._without_cached()

    def __copy__(self) -> Self:
        # Also behind model_copy(update=...): a copy must not inherit the text cached for the old values.
        return super().__copy__()._without_cached()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return super().__deepcopy__(memo)._without_cached()

    def _without_cached(self) -> Self:
        for name in set(self.__dict__) - set(type(self).model_fields):
            del self.__dict__[name]
        return self

    def key(self) -> str:
        """SHA-256 of `canonical_json`."""
        return digest(self.canonical_json)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values that rebuild this spec, located fields included."""
        return self.model_dump(mode="json", serialize_as_any=True)

    @classmethod
    def parse(cls, values: object, where: str = "") -> Self:
        """Build from plain values; a failure names the path to each bad field.

        Raises:
            ConfigError: with one line for every field that is unknown, missing or of the wrong type.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(explain(error, where or cls.__name__)) from None


@cache
def _hashed_fields(kind: type[Spec]) -> tuple[str, ...]:
    return tuple(sorted(set(kind.model_fields) - set(kind.located)))


def explain(error: ValidationError, where: str) -> str:
    """Turn a pydantic error into lines ``path: message (found ...)``."""
    lines, errors = [], error.errors()
    for item in errors:
        if item["type"] == "too_short" and any(
            e["loc"][: len(item["loc"])] == item["loc"] != e["loc"] for e in errors
        ):
            continue  # a list whose items failed counts as empty; the items say why
        path = ".".join(str(part) for part in item["loc"]) or "(top level)"
        message = item["msg"].removeprefix("Value error, ")
        # Secrets go before the text is cut, or half of one is left.
        found = "" if item["type"] == "missing" else f" (found {without_secrets(str(item['input']))[:80]!r})"
        lines.append(f"{path}: {message}{found}")
    return f"{where} is not valid:\n  " + "\n  ".join(lines)
