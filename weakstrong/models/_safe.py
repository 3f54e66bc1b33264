"""What a model folder may not do to us: run code, load a pickle, or bring weights that its digest does not name.

transformers refuses much by itself (``trust_remote_code=False``, ``use_safetensors=True``), but follows what the
folder's JSON files say about other files. No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weakstrong.errors import ModelError

INDEX = ".safetensors.index.json"
KERNELS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
"""Fields of a config that may name code of the hub for attention, written ``org/name``."""


def check_folder(folder: Path, trust_remote_code: bool = False) -> Path:
    """The folder itself, once its JSON files name nothing but its own safetensors and no code.

    Raises:
        ModelError: with the file, what it names, and what to do.
    """
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds an adapter (adapter_config.json), which would change or replace the weights; merge it into "
            "its base model (peft: merge_and_unload, then save_pretrained) and name that folder"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} has no .safetensors weights; convert it, pickled weights are never loaded"
        )
    config = _read(folder / "config.json")
    explicit = config.get("transformers_weights")
    if explicit is not None and not _is_own(explicit, (".safetensors", INDEX)):
        raise ModelError(
            f"{folder}/config.json takes its weights from {explicit!r}; only .safetensors files of the folder are read"
        )
    for index in sorted(folder.glob(f"*{INDEX}")):
        shards = _read(index).get("weight_map")
        for shard in sorted({str(s) for s in shards.values()}) if isinstance(shards, dict) else ():
            if not _is_own(shard, (".safetensors",)):
                raise ModelError(
                    f"{index} takes weights from {shard!r}; only .safetensors files of the folder are read"
                )
    for name in _kernels(config):
        if not trust_remote_code:
            raise ModelError(
                f"{folder}/config.json asks for the attention code {name!r} of the hub; remove the field, or trust the "
                "model's code: parse_model(name, trust_remote_code=True)"
            )
    return folder


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turn what transformers raises over a folder into our own words.

    Raises:
        ModelError: also where the model wants to run code of its own and nobody allowed it.
    """
    try:
        yield
    except ModelError:
        raise
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise ModelError(
                f"{folder} is no model of the installed transformers: it brings Python code of its own (auto_map), which "
                "is not run. Use another model, or read that code and allow it: parse_model(name, trust_remote_code=True) "
                "(docs/security.md)"
            ) from None
        raise ModelError(f"{folder} cannot be loaded: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({type(error).__name__}: {error})") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds {type(found).__name__}, an object is wanted")
    return found


def _is_own(name: object, endings: tuple[str, ...]) -> bool:
    """Whether ``name`` is a plain file name with one of the ``endings``, so that it lies in the folder."""
    return isinstance(name, str) and name.endswith(endings) and not {"/", "\\", "\0", ":"} & set(name)


def _kernels(value: object) -> Iterator[str]:
    """Every name of hub code for attention, of inner configs too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in KERNELS and isinstance(inner, str) and "/" in inner:
                yield inner
            elif isinstance(inner, dict):
                yield from _kernels(inner)
