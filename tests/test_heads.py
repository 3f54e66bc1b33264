"""Classifiers: where their heads start, and which weights may be missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from weakstrong.errors import ModelError
from weakstrong.models._load import classification_layer, load_classifier
from weakstrong.models.base import parse_model
from weakstrong.training.features import tokenize
from weakstrong.training.fit import class_logits

Tiny = Callable[..., Path]
DECODERS = {"llama": "lm_head", "gpt2": "lm_head", "gpt_neox": "embed_out", "gemma3_text": "lm_head"}
TIED = {
    "llama": "model.embed_tokens",
    "gpt2": "transformer.wte",
    "gpt_neox": "gpt_neox.embed_in",
    "gemma3_text": "model.embed_tokens",
}
CLASSES = ("no", "yes")


def classifier(
    folder: Path, classes: tuple[str, ...] = CLASSES, head: str = "auto", dropout: float = 0.0
) -> nn.Module:
    return load_classifier(parse_model(str(folder)), classes, head, dropout, 0)[0]


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_decoder_starts_from_its_unembedding(
    tiny_model: Tiny, family: str, tied: bool, classes: int
) -> None:
    """Rows of other tokens, or zeros where an unembedding exists (tied ones are stored as the embedding)."""
    folder = tiny_model(family, layers=2, tie_word_embeddings=tied)
    weights = load_file(folder / "model.safetensors")
    name = f"{TIED[family] if tied else DECODERS[family]}.weight"
    ids = torch.tensor([1, 2, 3])[:classes]  # the tokens "0", "1", "2" of the tiny tokenizer
    layer = classification_layer(classifier(folder, tuple("abc"[:classes])))
    assert torch.equal(layer.weight, weights[name][ids])


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_an_encoder_starts_from_zeros(tiny_model: Tiny, family: str) -> None:
    """An encoder whose first predictions are random, or that starts from rows of its word embeddings."""
    folder = tiny_model(family, layers=2)
    model = classifier(folder)
    layer = classification_layer(model)
    assert not layer.weight.any()
    assert layer.bias is None or not layer.bias.any()
    with pytest.raises(ModelError, match="head: auto or zeros"):
        classifier(folder, head="unembedding")


def test_a_tied_embedding_of_another_name_is_found(tiny_model: Tiny) -> None:
    """OPT keeps its only matrix under ``decoder``: a head of zeros without a word."""
    folder = tiny_model("opt", layers=2, tie_word_embeddings=True)
    wanted = load_file(folder / "model.safetensors")["model.decoder.embed_tokens.weight"][[1, 2]]
    assert torch.equal(classification_layer(classifier(folder)).weight, wanted)


def test_zeros_can_be_asked_of_a_decoder(tiny_model: Tiny) -> None:
    """``head: zeros`` that is ignored."""
    assert not classification_layer(classifier(tiny_model("llama", layers=2), head="zeros")).weight.any()


def test_more_classes_than_single_tokens(tiny_model: Tiny) -> None:
    """A tokenizer without a token "3": rows of <unk> as a head, or a crash."""
    folder, classes = tiny_model("llama", layers=2), tuple("abcd")
    assert not classification_layer(classifier(folder, classes)).weight.any()
    with pytest.raises(ModelError, match="4 classes"):
        classifier(folder, classes, head="unembedding")


@pytest.mark.parametrize("family", [*DECODERS, "bert", "modernbert"])
def test_logits_do_not_depend_on_padding(tiny_model: Tiny, family: str) -> None:
    """The head read at a padding token, or at the last token that is not id 0."""
    model, tokenizer = load_classifier(
        parse_model(str(tiny_model(family, layers=2))), CLASSES, "auto", 0.0, 0
    )
    with torch.no_grad():
        classification_layer(model).weight.normal_(generator=torch.Generator().manual_seed(1))
        ids = tokenize(tokenizer, ["w1 w2 w3 w4 w5 w6 w7", "w5", "w7 zero w8 zero", "w9 <pad> w3"], 64)
        together_BC = class_logits(model.eval(), ids, tokenizer.pad_token_id, "cpu")
        alone_BC = torch.cat([class_logits(model, [row], tokenizer.pad_token_id, "cpu") for row in ids])
    torch.testing.assert_close(together_BC, alone_BC, rtol=1e-5, atol=1e-5)
    assert together_BC.unique(dim=0).shape[0] == 4


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert", "distilbert", "modernbert"])
@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_dropout_is_what_was_asked(tiny_model: Tiny, family: str, dropout: float) -> None:
    """A checkpoint's own dropout (BERT: 0.1) left on, so that two runs differ; or one that is never used."""
    model = classifier(tiny_model(family, layers=2), dropout=dropout)
    layers = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    fields = {n: v for n, v in vars(model.config).items() if "drop" in n and v is not None}
    assert set(layers) <= {dropout}
    assert fields
    assert {n: v for n, v in fields.items() if v != (0.0 if n == "layerdrop" else dropout)} == {}


def test_a_dropout_written_as_an_integer_counts(tiny_model: Tiny, tmp_path: Path) -> None:
    """``"attention_dropout": 0`` in a checkpoint's JSON: the dropout that was asked for is never set."""
    for path in tiny_model("llama", layers=2).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"attention_dropout": 0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert classifier(tmp_path, dropout=0.25).config.attention_dropout == 0.25


def test_missing_backbone_weights_are_refused(tiny_model: Tiny, tmp_path: Path) -> None:
    """Finetuning from a layer of random numbers that from_pretrained filled in."""
    folder = tiny_model("llama", layers=2)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, first model\.layers\.1\.self_attn"):
        classifier(tmp_path)


def test_new_weights_come_from_the_seed(tiny_model: Tiny) -> None:
    """BERT's pooler drawn from the process's global state: two runs of one spec differ."""
    spec = parse_model(str(tiny_model("bert", layers=2)))
    torch.manual_seed(1)
    one = load_classifier(spec, CLASSES, "auto", 0.0, 5)[0].bert.pooler.dense.weight
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = load_classifier(spec, CLASSES, "auto", 0.0, 5)[0].bert.pooler.dense.weight
    other = load_classifier(spec, CLASSES, "auto", 0.0, 6)[0].bert.pooler.dense.weight
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_class_names_reach_the_exported_config(tiny_model: Tiny) -> None:
    """An exported model that answers LABEL_0 instead of the user's class."""
    config = classifier(tiny_model("llama", layers=2), ("bad", "good")).config
    assert (config.id2label, config.label2id) == ({0: "bad", 1: "good"}, {"bad": 0, "good": 1})
