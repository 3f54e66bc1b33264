"""Which experiments were run on a store, so that results need not be told. No torch."""

from __future__ import annotations

import json
import warnings

from weakstrong.errors import WeakStrongError
from weakstrong.experiment import Experiment
from weakstrong.methods._own import only_known_files
from weakstrong.store import Store


def remember(store: Store, experiment: Experiment) -> None:
    """Note in the store which experiment was run, so that results need not be told."""
    store.write_note("experiments", experiment.key(), experiment.to_dict())


def remembered(store: Store) -> list[Experiment]:
    """Experiments that were run on this store, oldest first.

    A store may come from anybody, so a method file that it names is run only if this user has named it before.
    """
    folder = f"{store.root}/.experiments"
    if not store.fs.exists(folder):
        return []
    entries = sorted(store.fs.ls(folder, detail=True), key=lambda e: (str(e.get("mtime", "")), e["name"]))
    found = []
    for entry in entries:
        with store.fs.open(entry["name"], "rb") as file:
            text = file.read()
        try:
            with only_known_files():
                found.append(Experiment.parse(json.loads(text), str(entry["name"])))
        except (WeakStrongError, ValueError) as error:
            # Of another version, cut short, or with a method file that is gone or not known: the others can be read.
            warnings.warn(f"an experiment of the store is left out: {error}", stacklevel=2)
    return found
