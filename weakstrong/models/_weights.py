"""Weights as files: digests, headers, hub revisions, and GGUF turned into safetensors once. No torch at import."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import struct
from functools import cache
from pathlib import Path
from uuid import uuid4

from filelock import FileLock

from weakstrong.errors import ConfigError, ModelError, OfflineError

HUB_NAME = re.compile(r"hub:(?P<repo>[^@\s]+?)(@(?P<revision>[^@\s]+))?$")
HEADER_LIMIT = 100_000_000  # bytes, that of the format
LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)\.")
BUFFER = re.compile(r"(?:^|\.)(position_ids|(attn|attention)\.(masked_)?bias|inv_freq)$")
EMBEDDING = re.compile(r"(embeddings?\.|embed_tokens|wte|wpe|embed_in|lm_head|embed_out|embed_positions)")


def hub_revision(uri: str) -> tuple[str, str]:
    """Repository and 40-digit commit of ``hub:org/name[@revision]``; asks the hub only if nothing cached answers.

    Raises:
        ConfigError: if the text is malformed.
        OfflineError: if the revision is neither a commit nor cached and the hub does not answer.
    """
    match = HUB_NAME.match(uri)
    if not match:
        raise ConfigError(f"{uri!r} is not a hub model; write hub:org/name@revision")
    repo, revision = match["repo"], match["revision"] or "main"
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return repo, revision
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    from weakstrong.sources import is_offline

    ref = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repo, repo_type="model"), "refs", revision)
    cached = _commit_in(ref)
    if is_offline():
        if cached:
            return repo, cached
        raise OfflineError(
            f"hub:{repo}@{revision} is not cached and the network is off; name a cached commit"
        )
    try:
        commit = HfApi().model_info(repo, revision=revision).sha
    except Exception as error:  # the hub client raises httpx, OSError and its own kinds
        if cached:
            return repo, cached
        raise OfflineError(
            f"hub:{repo}@{revision} is not cached and the hub does not answer: {error}"
        ) from error
    if commit is None:
        raise OfflineError(f"hub:{repo}@{revision}: the hub names no commit")
    return repo, commit


def _commit_in(ref: Path) -> str | None:
    """The commit that a file of the hub's cache holds; a revision such as ``../../file`` may lead to any file."""
    text = ref.read_text(encoding="utf-8", errors="replace").strip() if ref.is_file() else ""
    return text if re.fullmatch(r"[0-9a-f]{40}", text) else None


def snapshot_path(source: str) -> Path | None:
    """The local folder of a hub commit or path, or None if it is not here."""
    if not source.startswith("hub:"):
        folder = Path(source).expanduser()
        return folder if (folder / "config.json").is_file() else None
    from huggingface_hub import try_to_load_from_cache

    repo, commit = hub_revision(source)
    found = try_to_load_from_cache(repo, "config.json", revision=commit)
    return Path(found).parent if isinstance(found, str) else None


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a model folder's config, weights and tokenizer files.

    Raises:
        ModelError: if the folder holds no safetensors weights (pickles are never read).
    """
    files = sorted(
        p for p in folder.iterdir() if p.suffix in (".json", ".safetensors", ".model", ".txt", ".py")
    )
    if not any(p.suffix == ".safetensors" for p in files):
        raise ModelError(
            f"{folder} has no .safetensors weights; convert it, pickled weights are never loaded"
        )
    return _digest_files(tuple((p, p.stat().st_size, p.stat().st_mtime_ns) for p in files))


@cache
def _digest_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    total = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            total.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes in a safetensors file, read from its header.

    Raises:
        ModelError: if it is something else.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(size, HEADER_LIMIT)))
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (struct.error, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no safetensors file ({type(error).__name__}); fetch it anew") from error


def layer_parameters(folder: Path) -> tuple[int, int, list[int]]:
    """Parameter counts of a model folder: embeddings, everything else outside the layers, each layer."""
    embedding, other, layers = 0, 0, dict[int, int]()
    for path in sorted(folder.glob("*.safetensors")):
        for name, shape in tensor_shapes(path).items():
            if BUFFER.search(name):
                continue
            count = math.prod(shape)
            layer = LAYER.search(name)
            if layer:
                layers[int(layer[1])] = layers.get(int(layer[1]), 0) + count
            elif EMBEDDING.search(name):
                embedding += count
            else:
                other += count
    return embedding, other, [layers[i] for i in sorted(layers)]


def dequantised(gguf: Path, digest: str, target: Path) -> Path:
    """Turn a GGUF file into a safetensors folder once; a finished folder is returned as it is.

    Args:
        gguf: the file, already verified.
        digest: its SHA-256, part of the folder's name.
        target: folder to hold the result, e.g. in the cache.
    """
    folder = target / f"{digest[:16]}-float32"
    if (folder / "config.json").is_file():
        return folder
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target / f"{digest[:16]}.lock"):
        if (folder / "config.json").is_file():
            return folder
        from weakstrong.models._load import quiet_transformers

        building = target / f".building-{uuid4().hex[:8]}"
        try:
            with quiet_transformers():
                _convert(gguf, building)
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
    )
    # A dequantised model still counts as quantised, and would refuse to be saved.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = ""
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    tokenizer.save_pretrained(target)
