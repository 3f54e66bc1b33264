"""A pretrained ladder: every rung from the same games, resumed to the bit, refused where something else stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from weakstrong.errors import DataError, Stopped
from weakstrong.models.base import parse_model
from weakstrong.training.ladder import MADE, Ladder, pretrain
from weakstrong.training.scratch import DecoderSize
from weakstrong.training.spec import Runtime

MOVES = ("e4", "d4", "Nf3", "c4", "g3", "b3", "Nc3", "f4")
GAMES = [
    " ".join(f"{1 + i // 2}{'.' if i % 2 == 0 else '...'} {MOVES[(start + i * step) % 8]}" for i in range(10))
    for start in range(8)
    for step in (1, 3, 5)
]
LADDER = Ladder(
    sizes=(
        DecoderSize(name="small", width=16, layers=1, heads=1),
        DecoderSize(name="large", width=64, layers=2, heads=2),
    ),
    vocabulary=64,
    context=32,
    held_out=4,
    epochs=12,
    batch_rows=4,
    precision="fp32",
)


def digests(out: Path) -> list[str]:
    return [parse_model(str(out / size.name)).weights for size in LADDER.sizes]


def test_a_larger_rung_predicts_unseen_games_better_and_both_are_models(tmp_path: Path) -> None:
    """Rungs of a ladder that say nothing of their size, compute or loss, or that cannot be loaded."""
    rungs = pretrain(LADDER, GAMES, tmp_path / "ladder", Runtime())
    assert [rung.name for rung in rungs] == ["small", "large"]
    assert rungs[1].loss < rungs[0].loss < 2.5
    assert rungs[1].parameters > rungs[0].parameters
    assert rungs[0].tokens == rungs[1].tokens == 12 * sum(len(game.split()) // 2 + 2 for game in GAMES[4:])
    # Body and unembedding, twice forward and four times backward for each parameter and token; norms are counted too.
    body = 4 * 16 * 16 + 3 * 16 * 48 + 3 * 16
    vocabulary = (rungs[0].parameters - body) // 16
    assert rungs[0].flops == 6 * (body + vocabulary * 16) * rungs[0].tokens
    before = digests(tmp_path / "ladder")
    again = pretrain(LADDER, GAMES, tmp_path / "ladder", Runtime())
    assert again == rungs
    assert digests(tmp_path / "ladder") == before
    assert not (tmp_path / "ladder" / ".unfinished").exists()


def test_a_ladder_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Ctrl-C in the second rung that loses the first, or whose resumption ends elsewhere."""
    pretrain(LADDER, GAMES, tmp_path / "whole", Runtime())
    asked = iter([False] * 75 + [True] * 1000)
    with pytest.raises(Stopped):
        pretrain(LADDER, GAMES, tmp_path / "cut", Runtime(stopping=lambda: next(asked)))
    assert (tmp_path / "cut" / "small" / MADE).is_file()
    assert not (tmp_path / "cut" / "large").exists()
    pretrain(LADDER, GAMES, tmp_path / "cut", replace(Runtime(), checkpoint_seconds=0.0))
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_other_games_do_not_pass_for_the_same_ladder(tmp_path: Path) -> None:
    """A finished folder taken for the result of other games or settings."""
    pretrain(LADDER, GAMES, tmp_path, Runtime())
    with pytest.raises(DataError, match=r"small was pretrained otherwise \(.*games_sha256"):
        pretrain(LADDER, GAMES[::-1], tmp_path, Runtime())
    with pytest.raises(DataError, match=r"\(seed differ"):
        pretrain(LADDER.model_copy(update={"seed": 1}), GAMES, tmp_path, Runtime())
    (tmp_path / "small" / MADE).unlink()
    with pytest.raises(DataError, match="stands in the way"):
        pretrain(LADDER, GAMES, tmp_path, Runtime())


def test_too_few_games_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 games, of which 4 are held out"):
        pretrain(LADDER, GAMES[:4], tmp_path, Runtime())
