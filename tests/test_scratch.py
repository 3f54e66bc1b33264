"""Decoders made from nothing: tokens of moves, sizes, and the loss that tells whether training helped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from weakstrong.errors import ConfigError, DataError
from weakstrong.models._load import load_language_model
from weakstrong.models.base import card, parse_model
from weakstrong.training.generative import tune
from weakstrong.training.scratch import DecoderSize, mean_loss, move_tokenizer, new_decoder
from weakstrong.training.spec import Generative, Runtime

OPENINGS = [
    "1. e4 1... e5 2. Nf3 2... Nc6 3. Bb5 3... a6 4. Bxc6 4... dxc6 5. O-O 5... f6",
    "1. d4 1... d5 2. c4 2... e6 3. Nc3 3... Nf6 4. Bg5 4... Be7 5. e3 5... O-O",
    "1. e4 1... c5 2. Nf3 2... d6 3. d4 3... cxd4 4. Nxd4 4... Nf6 5. Nc3 5... a6",
]
TINY = DecoderSize(name="tiny", width=32, layers=2, heads=2)


def test_a_text_of_moves_loses_its_numbers_and_nothing_else() -> None:
    """Digits of squares taken for move numbers; a move in a prompt and the same move as a completion with other tokens."""
    tokenizer = move_tokenizer(OPENINGS * 3, 80)
    for game in OPENINGS:
        moves = [word for word in game.split() if not word.endswith(".")]
        ids = tokenizer(game)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == "".join(f" {move}" for move in moves)
        cut = game.rindex(" ")
        prompt = tokenizer(game[:cut])["input_ids"]
        assert ids == prompt + tokenizer(game[cut:], add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("move", [" Qh4e1#", " exd8=N+", " O-O-O+", " R1xa8", " Kb1"])
def test_a_move_never_seen_can_be_said(move: str) -> None:
    """A vocabulary of seen moves in which a rare right answer has no token."""
    tokenizer = move_tokenizer(OPENINGS, 60)
    ids = tokenizer(move, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == move


def test_a_tokenizer_wants_games() -> None:
    with pytest.raises(DataError, match="no game"):
        move_tokenizer([], 60)


def test_a_new_decoder_is_an_ordinary_model_drawn_from_its_seed(tmp_path: Path) -> None:
    """Weights that differ from run to run, or a folder that the loader of models does not read."""
    tokenizer = move_tokenizer(OPENINGS, 80)
    state = torch.random.get_rng_state()
    folders = [new_decoder(tmp_path / name, TINY, tokenizer, 64, seed) for name, seed in zip("abc", (0, 0, 1), strict=True)]  # fmt: skip
    assert torch.equal(state, torch.random.get_rng_state())
    specs = [parse_model(str(folder)) for folder in folders]
    assert specs[0].weights == specs[1].weights != specs[2].weights
    # 12 · layers · width², two norms a layer and one at the end, and the tied embedding; 96 is 8/3 of 32 in sixteens.
    layer = 4 * 32 * 32 + 3 * 32 * 96 + 2 * 32
    assert card(specs[0]).parameters == 2 * layer + 32 + len(tokenizer) * 32
    assert card(specs[0]).family == "decoder"


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="size odd: width 30 cannot be shared by 4 heads"):
        DecoderSize(name="odd", width=30, layers=1, heads=4).config([], 8)


def test_the_mean_loss_is_that_of_transformers(tmp_path: Path) -> None:
    """Padding that counts, or a first token that is predicted from nothing."""
    tokenizer = move_tokenizer(OPENINGS, 80)
    model, loaded = load_language_model(parse_model(str(new_decoder(tmp_path / "m", TINY, tokenizer, 64, 0))))
    texts = [*OPENINGS, OPENINGS[0][:20]]
    total, count = 0.0, 0
    for text in texts:
        ids_1T = torch.tensor([loaded(text)["input_ids"]])
        total += model(input_ids=ids_1T, labels=ids_1T).loss.item() * (ids_1T.shape[1] - 1)
        count += ids_1T.shape[1] - 1
    for budget in (1, 40, 10_000):
        assert mean_loss(model, loaded, texts, 64, budget) == pytest.approx(total / count, rel=1e-5)
    with pytest.raises(DataError, match="two tokens"):
        mean_loss(model, loaded, [""], 64, 40)


def test_games_are_learnt_by_heart(tmp_path: Path) -> None:
    """A decoder from nothing that the loop of generative finetuning does not move."""
    tokenizer = move_tokenizer(OPENINGS, 80)
    start = parse_model(str(new_decoder(tmp_path / "start", TINY, tokenizer, 64, 0)))
    spec = Generative(epochs=150, learning_rate=3e-3, batch_rows=3, max_tokens=64, precision="fp32")
    tune(start, OPENINGS, spec, 0, Runtime(), None, tmp_path / "end")
    losses = [
        mean_loss(*load_language_model(parse_model(str(tmp_path / name))), OPENINGS, 64, 4096)
        for name in ("start", "end")
    ]
    assert losses[0] > 4 > 0.8 > losses[1]
