"""What a model is: weights named by digest, cut to a depth. No torch here.

Models are written ``smollm2-135m`` (embedded), ``smollm2-135m:8`` (its first 8 layers), ``hub:org/name@revision`` or a
folder; hub models and folders take a rung after ``::``, as in ``hub:org/name@revision::8``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from weakstrong.errors import ConfigError, ModelError
from weakstrong.models._weights import folder_digest, hub_revision, layer_parameters, snapshot_path
from weakstrong.registry import Registry
from weakstrong.spec import Spec

MODELS: Registry[type[EmbeddedModel]] = Registry(
    "model", "weakstrong.models", __file__, "Others: hub:org/name@revision, or a folder with config.json."
)


class ModelSpec(Spec):
    """Pretrained weights, perhaps cut to their first layers.

    The key holds the weights' digest and the depth, not the name or where the weights lie.
    """

    located: ClassVar[tuple[str, ...]] = ("name", "source")

    kind: Literal["model"] = "model"
    name: str = Field(description="as the user wrote it")
    source: str = Field(description="embedded name, hub:org/name@commit, or a folder")
    weights: str = Field(description="SHA-256 of the weights file, hub:commit, or digest of the folder")
    layers: int | None = Field(None, ge=1, description="first layers kept; empty: all")
    trust_remote_code: bool = Field(
        False, description="run the model's own Python code; never unless asked by name"
    )


@dataclass(frozen=True)
class Card:
    """What `w2s models` prints.

    Attributes:
        parameters: count at this depth, embeddings included; None if the weights are not here yet.
        flops_per_token: forward FLOPs per token, 2 × parameters outside the embeddings; attention over the
            context is left out (below 2 % at 100 tokens). None if the weights are not here yet.
        layers: depth in use.
        cached: whether loading needs no network.
    """

    name: str
    family: str
    parameters: int | None
    flops_per_token: float | None
    layers: int | None
    licence: str
    source: str
    cached: bool


class EmbeddedModel:
    """Base of the embedded entries: a card with pinned weights, and how to make a loadable folder of them."""

    source: ClassVar[str]
    sha256: ClassVar[str]
    licence: ClassVar[str]
    family: ClassVar[Literal["encoder", "decoder"]]
    layers: ClassVar[int]
    layer_parameters: ClassVar[int]
    embedding_parameters: ClassVar[int]
    other_parameters: ClassVar[int]

    @classmethod
    def folder(cls) -> Path:
        """Fetch what is missing and return a folder that ``from_pretrained`` reads (safetensors, tokenizer)."""
        raise NotImplementedError(f"{cls.__name__} is abstract: an entry says how its weights are fetched")

    @classmethod
    def cached(cls) -> bool:
        """Whether `folder` needs no network."""
        raise NotImplementedError(f"{cls.__name__} is abstract: an entry says whether its weights are here")


def parse_model(value: object, trust_remote_code: bool = False) -> ModelSpec:
    """A model from its name or a `ModelSpec`; hub revisions become commits and folders digests.

    Raises:
        UnknownNameError: with close matches.
        ModelError: for a rung that the checkpoint does not have.
        OfflineError: for a hub model that is not cached while the network is off.
    """
    if isinstance(value, ModelSpec):
        return value
    if isinstance(value, dict):
        return ModelSpec.parse(value, "model")
    if not isinstance(value, str) or not value:
        raise ConfigError(f"a model is a name such as smollm2-135m:8, found {value!r}")
    return _parse(value, trust_remote_code)


# One commit per process for a branch such as main; folders are looked at anew, their files may change.
_commit = cache(hub_revision)


def _parse(name: str, trust: bool) -> ModelSpec:
    base, rung = _split_rung(name)
    if base.startswith("hub:"):
        repo, commit = _commit(base)
        return ModelSpec(
            name=name,
            source=f"hub:{repo}@{commit}",
            weights=f"hub:{commit}",
            layers=rung,
            trust_remote_code=trust,
        )
    folder = Path(base).expanduser()
    if (folder / "config.json").is_file():
        weights, depth = folder_digest(folder), len(layer_parameters(folder)[2])
        if rung is not None and depth and rung > depth:
            raise ModelError(f"{name}: {base} has {depth} layers, so the rung is from 1 to {depth}")
        layers = None if rung == depth else rung
        return ModelSpec(
            name=name, source=str(folder), weights=weights, layers=layers, trust_remote_code=trust
        )
    if "/" in base or base.startswith("."):
        raise ModelError(
            f"{base} is not a model folder: it has no config.json; hub models are hub:org/name@revision"
        )
    entry = MODELS.get(base)
    if rung is not None and not 1 <= rung <= entry.layers:
        raise ModelError(f"{name}: {base} has {entry.layers} layers, so the rung is from 1 to {entry.layers}")
    return ModelSpec(
        name=name, source=base, weights=entry.sha256, layers=None if rung == entry.layers else rung
    )


def _split_rung(name: str) -> tuple[str, int | None]:
    separator = "::" if name.startswith(("hub:", ".")) or "/" in name else ":"
    base, _, rung = name.partition(separator)
    if not rung:
        return base, None
    if not rung.isdecimal() or int(rung) < 1:
        raise ModelError(f"{name}: the rung {rung!r} is not a number of layers, e.g. smollm2-135m:8")
    return base, int(rung)


def model_folder(spec: ModelSpec) -> Path:
    """The local folder of a model's weights and tokenizer, fetched if need be."""
    if spec.source in MODELS.names():
        return MODELS.get(spec.source).folder()
    if spec.source.startswith("hub:"):
        from weakstrong.sources import fetch

        return fetch(spec.source)
    folder = Path(spec.source).expanduser()
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no longer a model folder (no config.json)")
    if folder_digest(folder) != spec.weights:
        raise ModelError(f"{folder} has changed since this experiment was planned; plan it again")
    return folder


def card(spec: ModelSpec) -> Card:
    """Size, licence and compute of a model, from its entry or from its files' headers; loads no weights."""
    if spec.source in MODELS.names():
        entry = MODELS.get(spec.source)
        depth = spec.layers or entry.layers
        body = entry.layer_parameters * depth + entry.other_parameters
        total = body + entry.embedding_parameters
        return Card(
            spec.name, entry.family, total, 2.0 * body, depth, entry.licence, entry.source, entry.cached()
        )
    folder = snapshot_path(spec.source)
    if folder is None:
        return Card(spec.name, "unknown", None, None, spec.layers, "see its model card", spec.source, False)
    config = json.loads((folder / "config.json").read_text())
    embedding, other, per_layer = layer_parameters(folder)
    depth = spec.layers or len(per_layer)
    body = other + sum(per_layer[:depth])
    architecture = (config.get("architectures") or [""])[0]
    family = "decoder" if "CausalLM" in architecture or "LMHead" in architecture else "encoder"
    return Card(
        spec.name, family, body + embedding, 2.0 * body, depth, "see its model card", spec.source, True
    )
