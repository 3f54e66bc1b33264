"""Pretraining a ladder of small decoders on games of chess, so that strength rises with size and nothing is downloaded.

Every rung reads the same games in the same order; only its size differs, as in the paper's ladders (§4.1).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import Field

from weakstrong.errors import DataError
from weakstrong.models._load import load_language_model, quiet_transformers
from weakstrong.models.base import card, parse_model
from weakstrong.spec import Spec
from weakstrong.training.generative import tune
from weakstrong.training.scratch import DecoderSize, mean_loss, move_tokenizer, new_decoder
from weakstrong.training.spec import Generative, Runtime

MADE = "pretraining.yaml"
"""Beside a rung's weights: how it was made. No JSON, whose files are part of a model folder's digest: it holds the time taken."""

SIZES = (
    DecoderSize(name="0.3m", width=64, layers=4, heads=2),
    DecoderSize(name="1m", width=128, layers=4, heads=4),
    DecoderSize(name="3m", width=192, layers=6, heads=6),
    DecoderSize(name="9m", width=320, layers=7, heads=10),
)


class Ladder(Spec):
    """How a ladder is pretrained.

    ``learning_rate`` holds at width 64 and falls with 1 / width (Yang et al. 2022, arXiv 2203.03466, for Adam).
    """

    kind: Literal["ladder"] = "ladder"
    sizes: tuple[DecoderSize, ...] = Field(SIZES, min_length=1)
    vocabulary: int = Field(1536, ge=64, description="tokens of moves, learnt from the games")
    context: int = Field(512, ge=16, description="longest game in tokens; the rest is cut")
    held_out: int = Field(500, ge=1, description="games that measure the loss and are never trained on")
    learning_rate: float = Field(4e-3, gt=0)
    epochs: int = Field(2, ge=1)
    batch_rows: int = Field(64, ge=1, description="games of a batch")
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = Field(0, ge=0)

    def training(self, size: DecoderSize) -> Generative:
        """The language-model training of one size."""
        return Generative(
            epochs=self.epochs,
            learning_rate=self.learning_rate * 64 / size.width,
            batch_rows=self.batch_rows,
            max_tokens=self.context,
            precision=self.precision,
        )


@dataclass(frozen=True)
class Rung:
    """One pretrained size.

    Attributes:
        folder: an ordinary Hugging Face folder.
        parameters: count, embeddings included.
        flops: of its training, forward and backward: 3 × the forward FLOPs of its body and its unembedding per token.
        loss: mean next-token loss on the held-out games, in nats.
    """

    name: str
    folder: str
    parameters: int
    tokens: int
    flops: float
    seconds: float
    loss: float


def pretrain(
    ladder: Ladder, games: Sequence[str], out: Path, runtime: Runtime, scratch: Path | None = None
) -> list[Rung]:
    """Pretrain every size on ``games`` and write each to a folder of its name in ``out``.

    A size that stands there finished, from the same games and settings, is not trained again; one that was stopped goes
    on from its checkpoint in ``scratch`` (by default ``out/.unfinished``).

    Raises:
        DataError: if there are not more games than are held out, or a folder in ``out`` holds something else.
        Stopped: if asked to stop; finished sizes and the state of the current one are kept.
    """
    if len(games) <= ladder.held_out:
        raise DataError(
            f"{len(games)} games, of which {ladder.held_out} are held out; more are wanted: add games or lower held_out"
        )
    held, read = games[: ladder.held_out], games[ladder.held_out :]
    scratch = scratch or out / ".unfinished"
    tokenizer = move_tokenizer(read, ladder.vocabulary)
    rungs = []
    for size in ladder.sizes:
        wanted = _made_from(ladder, size, tokenizer, read, held)
        folder = out / size.name
        found = _finished(folder, wanted)
        rungs.append(
            found or _pretrain(ladder, size, tokenizer, (read, held), folder, wanted, runtime, scratch)
        )
    shutil.rmtree(scratch, ignore_errors=True)
    return rungs


def _made_from(
    ladder: Ladder, size: DecoderSize, tokenizer: Any, read: Sequence[str], held: Sequence[str]
) -> dict[str, Any]:
    """All that decides a rung's numbers."""
    import hashlib

    digest = hashlib.sha256("\n".join([*read, "", *held]).encode()).hexdigest()
    return {
        "size": size.to_dict(),
        "training": ladder.training(size).to_dict(),
        "seed": ladder.seed,
        "vocabulary": len(tokenizer),
        "games": len(read),
        "games_sha256": digest,
    }


def _finished(folder: Path, wanted: dict[str, Any]) -> Rung | None:
    if not folder.exists():
        return None
    path = folder / MADE
    made = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    if not isinstance(made, dict):
        raise DataError(f"{folder} stands in the way: it holds no {MADE}; choose another folder")
    different = [name for name in wanted if made.get(name) != wanted[name]]
    if different:
        raise DataError(
            f"{folder} was pretrained otherwise ({', '.join(different)} differ); remove it or choose another folder"
        )
    return Rung(folder=str(folder), **made["rung"])


def _pretrain(
    ladder: Ladder,
    size: DecoderSize,
    tokenizer: Any,
    games: tuple[Sequence[str], Sequence[str]],
    folder: Path,
    wanted: dict[str, Any],
    runtime: Runtime,
    scratch: Path,
) -> Rung:
    begun = scratch / size.name
    start = parse_model(str(new_decoder(begun / "start", size, tokenizer, ladder.context, ladder.seed)))
    building = begun / "end"
    found = tune(start, games[0], ladder.training(size), ladder.seed, runtime, begun / "state", building)
    # Half the bytes; the loss is that of the rounded weights, which are the ones that are loaded again.
    trained, loaded = load_language_model(parse_model(str(building)))
    with quiet_transformers():
        trained.to(torch.float16).save_pretrained(building)
    spec = parse_model(str(building))
    network, _ = load_language_model(spec)
    loss = mean_loss(network.to(runtime.device), loaded, games[1], ladder.context, runtime.forward_tokens)
    known = card(spec)
    assert known.parameters is not None
    assert known.flops_per_token is not None
    forward = known.flops_per_token + 2 * len(tokenizer) * size.width
    rung = Rung(
        size.name,
        str(folder),
        known.parameters,
        found["tokens"],
        3 * forward * found["tokens"],
        found["seconds"],
        loss,
    )
    described = asdict(rung)
    del described["folder"]
    made = wanted | {"rung": described, "losses": [[step, loss] for step, loss in found["losses"]]}
    (building / MADE).write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(building, folder)
    return rung
