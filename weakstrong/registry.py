"""Names to things: one entry, one file, one decorator.

A registry covers one package. The name of an entry is the name of its file with ``-`` for ``_``; listing names
reads the folder only, and a file is imported when its entry is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

from weakstrong.errors import ConfigError, UnknownNameError

T = TypeVar("T")


def unknown(noun: str, name: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """An error for an unknown ``name`` that lists close matches, or all names where none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
    return UnknownNameError(f"unknown {noun} {name!r}: {advice}{' ' + hint if hint else ''}")


class Registry(Generic[T]):
    """Entries of one kind, one per file of ``package``.

    >>> from weakstrong.methods import METHODS
    >>> "naive" in METHODS.names()
    True
    """

    def __init__(
        self, noun: str, package: str, folder: str, hint: str = "", bases: tuple[str, ...] = ("base",)
    ) -> None:
        self.noun, self.package, self.folder, self.hint = noun, package, Path(folder).parent, hint
        self.bases = bases
        self._entries: dict[str, T] = {}

    def names(self) -> list[str]:
        """Every entry's name, sorted; imports nothing. Files that start with ``_`` or are bases do not count."""
        found = {
            m.name.replace("_", "-")
            for m in pkgutil.iter_modules([str(self.folder)])
            if not m.name.startswith("_") and m.name not in self.bases
        }
        return sorted(found | set(self._entries))

    def register(self, entry: T) -> T:
        """Decorator (or plain call): file the entry under the name of the file that defines it."""
        module = getattr(entry, "__module__", "")
        name = module.rsplit(".", 1)[-1].replace("_", "-")
        if name in self._entries and self._entries[name] is not entry:
            raise ConfigError(f"the {self.noun} {name!r} is registered twice; one entry, one file")
        self._entries[name] = entry
        return entry

    def forget(self, name: str) -> None:
        """Take an entry back, so that a changed file can register anew."""
        self._entries.pop(name, None)

    def get(self, name: str) -> T:
        """The entry called ``name``; imports its file on first use.

        Raises:
            UnknownNameError: with close matches.
        """
        if name not in self._entries:
            if name not in self.names():
                raise unknown(self.noun, name, self.names(), self.hint)
            importlib.import_module(f"{self.package}.{name.replace('-', '_')}")
        if name not in self._entries:
            raise ConfigError(
                f"{self.package}.{name.replace('-', '_')} registers no {self.noun}; decorate its class"
            )
        return self._entries[name]
