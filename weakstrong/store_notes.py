"""Small JSON notes in a store, for every process and machine that uses it: what runs, what failed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from weakstrong.errors import ConfigError
from weakstrong.store_place import Place


class Notes:
    """Notes below ``<root>/.<kind>/<name>.json``; the last writer of a name wins, and nobody reads half of one."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def _path(self, kind: str, name: str) -> str:
        for part in (kind, name):
            if not re.fullmatch(r"[\w-][\w.-]*", part):
                raise ConfigError(f"{part!r} cannot name a note; wanted letters, digits, '-', '_' and '.'")
        return self.place.path(f".{kind}", f"{name}.json")

    def write(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """See `weakstrong.store.Store.write_note`."""
        path, data = self._path(kind, name), json.dumps(dict(values), ensure_ascii=False).encode()
        if not self.place.is_local:
            self.place.write(path, data)
            return
        half = Path(f"{path}.{uuid4().hex[:8]}.tmp")
        try:
            half.parent.mkdir(exist_ok=True)
            try:
                half.write_bytes(data)
                os.replace(half, path)
            finally:
                half.unlink(missing_ok=True)
        except OSError as error:
            raise self.place.explain(error) from error

    def read(self, kind: str) -> dict[str, dict[str, Any]]:
        """See `weakstrong.store.Store.read_notes`."""
        folder = self._path(kind, "x").rpartition("/")[0]
        names = [str(e["name"]) for e in self.place.entries(folder)]
        found = {}
        for path, data in sorted(self.place.read_all([n for n in names if n.endswith(".json")]).items()):
            with contextlib.suppress(ValueError):
                values = json.loads(data)
                if isinstance(values, dict):
                    found[path.rpartition("/")[2].removesuffix(".json")] = values
        return found

    def remove(self, kind: str, name: str) -> None:
        """See `weakstrong.store.Store.remove_note`."""
        self.place.remove_file(self._path(kind, name))
