"""Model names, digests of folders, and cards that agree with torch's own counts; nothing is downloaded."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weakstrong.errors import ConfigError, ModelError, OfflineError, UnknownNameError, WeakStrongError
from weakstrong.models import MODELS, ModelSpec, card, parse_model
from weakstrong.models.base import model_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Tiny = Callable[..., Path]

# --- names


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("smollm2-135m:31", ModelError, r"smollm2-135m has 30 layers, so the rung is from 1 to 30"),
        ("smollm2-135m:0", ModelError, r"the rung '0' is not a number of layers"),
        ("smollm2-135m:-1", ModelError, r"the rung '-1' is not"),
        ("smollm2-135m:²", ModelError, r"the rung '²' is not"),
        ("minilm-l6:two", ModelError, r"the rung 'two' is not"),
        (
            "smollm-135m",
            UnknownNameError,
            r"unknown model 'smollm-135m': did you mean smollm2-135m.*hub:org/name",
        ),
        ("zzz", UnknownNameError, r"known: gemma3-270m, minilm-l6, smollm2-135m"),
        ("./no/such/folder", ModelError, r"no/such/folder is not a model folder: it has no config\.json"),
        ("org/name", ModelError, r"hub models are hub:org/name@revision"),
        ("hub:", ConfigError, r"'hub:' is not a hub model; write hub:org/name@revision"),
        ("hub:org/name@", ConfigError, r"is not a hub model"),
        ("hub:org/na me", ConfigError, r"is not a hub model"),
        ("hub:org/name@a@b", ConfigError, r"is not a hub model"),
        (f"hub:org/name@{COMMIT}::x", ModelError, r"the rung 'x' is not"),
        ("", ConfigError, r"a model is a name"),
        (None, ConfigError, r"a model is a name"),
        (["minilm-l6"], ConfigError, r"a model is a name"),
    ],
)
def test_bad_names_say_what_to_write(
    name: Any, error: type[WeakStrongError], words: str, no_network: Any
) -> None:
    """A bad name must fail while planning, in words, and without asking the network."""
    no_network()
    with pytest.raises(error, match=words):
        parse_model(name)


@pytest.mark.parametrize("name", MODELS.names())
def test_embedded_models_parse_and_have_cards_without_network(name: str, no_network: Any) -> None:
    """Planning with the embedded models must work on a train; sizes must grow with depth."""
    no_network()
    full = parse_model(name)
    entry = MODELS.get(name)
    assert (full.weights, full.layers) == (entry.sha256, None)
    assert parse_model(f"{name}:{entry.layers}").key() == full.key()
    cards = [card(parse_model(f"{name}:{n}")) for n in range(1, entry.layers + 1)]
    assert [c.layers for c in cards] == list(range(1, entry.layers + 1))
    sizes = [c.parameters or 0 for c in cards]
    assert all(b - a == entry.layer_parameters for a, b in itertools.pairwise(sizes))
    whole = card(full)
    assert (
        whole.parameters
        == entry.layer_parameters * entry.layers + entry.embedding_parameters + entry.other_parameters
    )
    assert whole.flops_per_token == 2 * (whole.parameters - entry.embedding_parameters)


def test_rungs_of_one_checkpoint_differ_in_the_key_by_depth_only() -> None:
    """Two rungs under one key would share results."""
    keys = {parse_model(f"smollm2-135m:{n}").key() for n in (1, 8, 29, 30)}
    assert len(keys) == 4


def test_a_hub_commit_parses_without_network(no_network: Any) -> None:
    """A pinned revision needs no answer from the hub; two revisions are two models."""
    no_network()
    spec = parse_model(f"hub:org/name@{COMMIT}::8")
    assert (spec.source, spec.layers) == (f"hub:org/name@{COMMIT}", 8)
    other = parse_model(f"hub:org/name@{COMMIT[::-1]}::8")
    assert other.key() != spec.key()
    assert parse_model(spec.to_dict()) == spec
    unknown = card(spec)
    assert (unknown.parameters, unknown.cached) == (None, False)


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "WEAKSTRONG_OFFLINE"])
def test_a_hub_branch_that_is_not_cached_is_an_offline_error(
    monkeypatch: pytest.MonkeyPatch, switch: str, no_network: Any
) -> None:
    """Offline must mean offline: no time-out after a minute, no traceback of an HTTP library."""
    import huggingface_hub  # noqa: F401 - imported before sockets are refused

    monkeypatch.setenv(switch, "1")
    no_network()
    with pytest.raises(
        OfflineError, match=r"hub:some-org/some-name@main is not cached and the network is off"
    ):
        parse_model("hub:some-org/some-name")


def test_a_cached_hub_branch_is_read_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_network: Any
) -> None:
    """What was fetched once must plan and run on a machine without network."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--cached-org--cached-name" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    no_network()
    assert parse_model("hub:cached-org/cached-name").source == f"hub:cached-org/cached-name@{COMMIT}"


# --- folders


@pytest.fixture
def folder(tiny_model: Tiny, tmp_path: Path) -> Path:
    """A tiny model's folder that may be changed."""
    return Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))


def test_a_folder_parses_wherever_it_lies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path in the key would recompute everything after a move."""
    spec = parse_model(str(folder))
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert parse_model(str(moved)).key() == spec.key()
    monkeypatch.chdir(tmp_path)
    assert parse_model("./moved").key() == spec.key()
    assert model_folder(spec) == folder
    assert parse_model(spec.to_dict()) == spec


def test_other_weights_are_another_model_even_in_one_process(folder: Path) -> None:
    """A folder that is trained further between two cells of a notebook must not keep its old digest."""
    import torch
    from safetensors.torch import load_file, save_file

    before = parse_model(str(folder))
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))
    weights[name] = weights[name] + torch.full_like(weights[name], 1e-3)
    save_file(weights, path, metadata={"format": "pt"})
    after = parse_model(str(folder))
    assert after.weights != before.weights
    assert after.key() != before.key()
    with pytest.raises(ModelError, match="has changed since this experiment was planned"):
        model_folder(before)
    assert model_folder(after) == folder


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_config_and_tokenizer_are_part_of_the_digest(folder: Path, name: str) -> None:
    """Another tokenizer under the same weights is another model."""
    before = parse_model(str(folder))
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(values | {"added": 1}))
    assert parse_model(str(folder)).key() != before.key()


def test_rungs_of_a_folder(folder: Path) -> None:
    """A rung deeper than the checkpoint must fail while planning; the full rung is the full model."""
    assert parse_model(f"{folder}::2").layers == 2
    assert parse_model(f"{folder}::4").key() == parse_model(str(folder)).key()
    with pytest.raises(ModelError, match=r"has 4 layers, so the rung is from 1 to 4"):
        parse_model(f"{folder}::5")


def test_pickled_weights_are_refused(folder: Path) -> None:
    """Reading a pickle runs whatever it holds."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors weights.*pickled weights are never loaded"):
        parse_model(str(folder))


def test_a_folder_that_is_gone_is_said(folder: Path) -> None:
    """Between planning and running, folders move."""
    spec = parse_model(str(folder))
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="is no longer a model folder"):
        model_folder(spec)


# --- cards

FAMILIES = {
    "llama": ("decoder", {"tie_word_embeddings": False}),
    "llama-tied": ("decoder", {"tie_word_embeddings": True}),
    "gpt2": ("decoder", {}),
    "bert": ("encoder", {}),
    "gpt_neox": ("decoder", {}),
}


@pytest.mark.parametrize("depth", [1, 3, None])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_card_counts_what_torch_counts(tiny_model: Tiny, family: str, depth: int | None) -> None:
    """Compute is the x axis of the main figure; a count that misses tied, rotary or head weights bends it."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

    kind, changes = FAMILIES[family]
    path = tiny_model(family.removesuffix("-tied"), layers=4, **changes)
    config = AutoConfig.from_pretrained(path)
    config.num_hidden_layers = depth or 4
    auto = AutoModelForMaskedLM if kind == "encoder" else AutoModelForCausalLM
    model = auto.from_config(config)
    total = sum(p.numel() for p in model.parameters())
    # Tables of vectors looked up by token or position, the norm that BERT puts on them, and the way back to tokens.
    names = ("wte", "wpe", "embed_tokens", "embed_in", "embed_out", "lm_head", "bert.embeddings")
    embedding = sum(p.numel() for n, p in model.named_parameters() if any(part in n for part in names))
    found = card(parse_model(f"{path}::{depth}" if depth else str(path)))
    assert found.family == kind
    assert found.layers == (depth or 4)
    assert found.parameters == total
    assert found.flops_per_token == 2 * (total - embedding)
    assert found.cached


def test_buffers_in_a_checkpoint_are_no_parameters(tiny_model: Tiny, tmp_path: Path) -> None:
    """The published gpt2 and gpt-neox files hold causal masks ([1, 1, 1024, 1024] a layer) beside the weights."""
    import torch
    from safetensors.torch import load_file, save_file

    for family, names in (
        ("gpt2", ("transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias")),
        (
            "gpt_neox",
            ("gpt_neox.layers.{}.attention.bias", "gpt_neox.layers.{}.attention.rotary_emb.inv_freq"),
        ),
    ):
        path = Path(shutil.copytree(tiny_model(family), tmp_path / family))
        plain = card(parse_model(str(path)))
        weights = load_file(path / "model.safetensors")
        assert any(".attn." in n or ".attention." in n for n in weights)
        for n in range(4):
            weights[names[0].format(n)] = torch.ones(1, 1, 64, 64)
            weights[names[1].format(n)] = torch.ones(16)
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        with_buffers = card(parse_model(str(path)))
        assert (with_buffers.parameters, with_buffers.flops_per_token) == (
            plain.parameters,
            plain.flops_per_token,
        )


def test_a_model_spec_keeps_where_and_what_apart() -> None:
    """Located fields are kept in files and left out of the key."""
    one = ModelSpec(name="a", source="x", weights="w")
    two = ModelSpec(name="b", source="y", weights="w")
    assert one.key() == two.key()
    assert one.to_dict()["source"] == "x"
    assert ModelSpec(name="a", source="x", weights="w", trust_remote_code=True).key() != one.key()
