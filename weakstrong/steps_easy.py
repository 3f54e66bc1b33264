"""Steps of easy-to-hard generalisation (paper App. C): how hard rows are, and splits of easy ones. No torch.

Difficulty may come from ground truth, and only fits of the analysis itself read such a split: no student of a cell does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from weakstrong.data import Part
from weakstrong.models.base import ModelSpec
from weakstrong.spec import Spec
from weakstrong.store import Step

BUILDERS = "weakstrong.builders.difficulty"


class DifficultySpec(Spec):
    """Where the difficulty of some parts' rows comes from: models' mistakes, or the task's own column."""

    kind: Literal["difficulty"] = "difficulty"
    by: Literal["models", "given"]
    parts: tuple[Part, ...]


class JudgeSpec(Spec):
    """A decoder that is asked which of two rows is easier."""

    kind: Literal["judge"] = "judge"
    model: ModelSpec
    instruction: str = Field(description="what the task asks of a row")
    parts: tuple[Part, ...]
    comparisons: int = Field(ge=2, multiple_of=2, description="per row")
    words: int = Field(ge=1, description="of each text that are shown")
    prior: float = Field(gt=0, description="precision of the prior on strengths")
    seed: int = Field(description="of the pairs")
    precision: Literal["bf16", "fp32"] = "bf16"


class EasySpec(Spec):
    """Which transfer rows stay: as many as lie below the smallest cut-off, drawn from those below this one."""

    kind: Literal["easy"] = "easy"
    cutoff: float | None = Field(description="difficulty up to which rows may stay; empty: any")
    smallest: float = Field(description="the cut-off that sets the number of rows")
    scale: Literal["value", "quantile"]
    seed: int


def model_difficulty(rungs: Sequence[Step], truth: Step, parts: tuple[Part, ...]) -> Step:
    """The smallest rung that, with every larger one, is right on a row: ``difficulty.parquet`` (id, difficulty).

    ``rungs`` are fits from small to large that never saw the rows; ``truth`` is sealed.
    """
    inputs = {f"rung_{i:03d}": rung for i, rung in enumerate(rungs)} | {"truth": truth}
    spec = DifficultySpec(by="models", parts=parts)
    title = f"difficulty by {len(rungs)} models"
    return Step("difficulty", 1, spec, inputs, f"{BUILDERS}:build_difficulty", title=title)


def given_difficulty(loaded: Step, split: Step, parts: tuple[Part, ...]) -> Step:
    """The task's own column ``difficulty``: ``difficulty.parquet`` (id, difficulty). Reads the sealed rows."""
    spec = DifficultySpec(by="given", parts=parts)
    inputs = {"load": loaded, "split": split}
    title = f"difficulty of {loaded.title}"
    return Step("difficulty", 1, spec, inputs, f"{BUILDERS}:build_difficulty", title=title)


def judge(examples: Step, split: Step, spec: JudgeSpec) -> Step:
    """Elo of being hard, from pairwise answers of a model: ``difficulty.parquet`` (id, difficulty). No ground truth."""
    inputs = {"examples": examples, "split": split}
    title = f"difficulty as {spec.model.name} judges it, seed {spec.seed}"
    return Step("judge", 1, spec, inputs, f"{BUILDERS}:build_judge", title=title)


def easy(split: Step, difficulty: Step, spec: EasySpec) -> Step:
    """A split with fewer transfer rows, the other parts as they were: ``split.parquet`` (id, part)."""
    inputs = {"split": split, "difficulty": difficulty}
    words = "random rows" if spec.cutoff is None else f"{spec.scale} of difficulty up to {spec.cutoff:g}"
    return Step("easy", 1, spec, inputs, f"{BUILDERS}:build_easy", title=f"{words}, {split.title}")
