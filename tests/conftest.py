"""Tiny random models and rows for tests: no download, built in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma3_text", "bert", "modernbert")
# Id 0 is an ordinary word and the pad token is not 0, so that "length by input_ids != 0" gives wrong numbers.
WORDS = ("zero", "0", "1", "2", "<pad>", "<unk>", "<eos>", *(f"w{i}" for i in range(53)))


def _config(family: str, layers: int, **changes: Any) -> Any:
    from transformers import AutoConfig

    common = {"vocab_size": len(WORDS), "initializer_range": 0.1, "pad_token_id": 4, "eos_token_id": 6, "bos_token_id": 6}
    usual = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "num_attention_heads": 4,
        "max_position_embeddings": 128,
    }  # fmt: skip
    own: dict[str, dict[str, Any]] = {
        "llama": usual | {"num_key_value_heads": 2, "tie_word_embeddings": False},
        "gpt2": {"n_embd": 32, "n_layer": layers, "n_head": 4, "n_positions": 128},
        "gpt_neox": usual,
        "gemma3_text": usual | {
            "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
        },
        "bert": usual,
        "modernbert": usual | {"cls_token_id": 6, "sep_token_id": 6, "local_attention": 8, "global_attn_every_n_layers": 2},
    }  # fmt: skip
    return AutoConfig.for_model(family, **common | own[family] | changes)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``tiny_model(family, layers=4, seed=0, **config)``: a folder with random weights and a word tokenizer."""
    made: dict[str, Path] = {}

    def build(family: str, layers: int = 4, seed: int = 0, **changes: Any) -> Path:
        name = f"{family}-{layers}-{seed}-" + "-".join(f"{k}={v}" for k, v in sorted(changes.items()))
        if name not in made:
            made[name] = tmp_path_factory.mktemp(family)
            _save(made[name], family, layers, seed, changes)
        return made[name]

    return build


def _save(folder: Path, family: str, layers: int, seed: int, changes: dict[str, Any]) -> None:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerFast

    auto = AutoModelForMaskedLM if family in ("bert", "modernbert") else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto.from_config(_config(family, layers, **changes))
        with torch.no_grad():
            for parameter in model.parameters():
                # Norms start as exact ones; noise makes a norm that is left out or applied twice visible.
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>"
    ).save_pretrained(folder)


def toy_rows(count: int, seed: int = 0, noise: float = 0.1) -> tuple[list[str], list[int]]:
    """Texts of 3 to 20 words whose class is mostly told by which words are frequent, and labels with some noise."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count) % 2)
    texts = []
    for label in labels:
        length = int(generator.integers(3, 21))
        low, high = (0, 36) if label == 0 else (17, 53)
        texts.append(" ".join(f"w{i}" for i in generator.integers(low, high, length)))
    flipped = np.where(generator.random(count) < noise, 1 - labels, labels)
    return texts, flipped.tolist()


@pytest.fixture(scope="session")
def rows() -> Callable[..., tuple[list[str], list[int]]]:
    """``rows(count, seed=0, noise=0.1)``: texts and labels."""
    return toy_rows
