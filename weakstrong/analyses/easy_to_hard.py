"""From easy rows to hard ones: train on ground truth of easy rows, test on all and on hard (paper App. C).

Legend: S seeds, N test rows, R rungs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from weakstrong import steps, steps_easy
from weakstrong.analyses.base import ANALYSES, Analysis, measured
from weakstrong.analyses.runs import Runs
from weakstrong.builders.difficulty import read_difficulty
from weakstrong.data import Part, positions
from weakstrong.errors import ConfigError
from weakstrong.methods.base import parse_method
from weakstrong.models.base import ModelSpec, card, parse_model
from weakstrong.stats import ratio_interval
from weakstrong.steps import FinetuneFit, ProbeFit
from weakstrong.steps_easy import EasySpec, JudgeSpec
from weakstrong.training.spec import Finetune, Probe

if TYPE_CHECKING:
    from weakstrong.experiment import Cell
    from weakstrong.graph import CellSteps, Graph
    from weakstrong.store import Step

AnyModel = Annotated[ModelSpec, BeforeValidator(parse_model)]
RATED = (Part.TRANSFER, Part.TEST)
QUARTILES = (0.25, 0.5, 0.75)
FEW = 12
"""Levels of difficulty up to which each is shown by itself; above, quartiles are."""
RANDOM = "random"


@ANALYSES.register
class EasyToHard(Analysis):
    """Accuracy on all and on hard rows after training on ground truth of rows up to a difficulty.

    Difficulty is, ``by=models`` (C.2), the smallest rung that with every larger one is right on a row, from 1 to rungs
    + 1 for what the largest gets wrong; the rungs are probes trained on ground truth of weak_train, which hold none of
    the rows in question. ``by=judged`` (C.3) is the Elo of being hard, from a decoder that is asked which of two rows
    is easier, in both orders. ``by=given`` is the task's own column ``difficulty`` (C.1): of the rated snippets the
    spread of their human ratings.

    Every cut-off trains on equally many transfer rows, drawn in one random order from those up to it; arm ``random``
    draws from all. They are trained as the ceiling is, to the last step: early stopping would look at validation rows
    of any difficulty. The cell's supervisor, student and ceiling stand beside them; the cell's method changes the
    student only.
    """

    source: ClassVar[str] = "Burns et al. 2023, App. C, Fig. 19 to 22"
    kind: Literal["easy-to-hard"] = "easy-to-hard"
    by: Literal["models", "judged", "given"] = "models"
    cutoffs: tuple[float, ...] = Field(
        (),
        description="difficulties; empty: every rung, or quartiles of the transfer part where it is not by models",
    )
    hard: float = Field(
        0.25, gt=0, lt=1, description="share of the test rows, the most difficult, that are hard"
    )
    rungs: int = Field(4, ge=2, description="by=models: depths of the student's checkpoint, evenly spaced")
    ladder: tuple[AnyModel, ...] = Field(
        (), description="by=models: models from small to large instead of rungs"
    )
    judge: AnyModel | None = Field(None, description="by=judged: the decoder asked; empty: the student")
    comparisons: int = Field(6, ge=2, multiple_of=2, description="by=judged: per row")
    words: int = Field(60, ge=1, description="by=judged: of each text that are shown")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="by=judged: of the judge's products")
    prior: float = Field(0.1, gt=0, description="by=judged: precision of the prior on strengths")

    def steps(self, cell: Cell, made: CellSteps, graph: Graph) -> dict[str, Step]:
        test = made.ceiling.inputs["truth"]
        split = test.inputs["split"]
        difficulty = getattr(self, f"_{self.by}")(cell, test.inputs["load"], split)
        found = {"difficulty": difficulty}
        for name, cutoff in self._arms(cell).items():
            spec = EasySpec(
                cutoff=cutoff, smallest=min(self._cutoffs(cell)), scale=self._scale, seed=cell.seed
            )
            fit = _refitted(made.ceiling_fit, steps_easy.easy(split, difficulty, spec))
            found[name] = steps.score(fit, test, f"score of {fit.title}")
        return found

    @property
    def _scale(self) -> Literal["value", "quantile"]:
        return "value" if self.cutoffs or self.by == "models" else "quantile"

    def _cutoffs(self, cell: Cell) -> tuple[float, ...]:
        if self.cutoffs:
            return tuple(sorted(set(self.cutoffs)))
        if self.by == "models":
            return tuple(float(i + 1) for i in range(len(self._rungs(cell.student))))
        return QUARTILES

    def _arms(self, cell: Cell) -> dict[str, float | None]:
        return {f"up to {c:g}": c for c in self._cutoffs(cell)} | {RANDOM: None}

    # --- where difficulty comes from

    def _models(self, cell: Cell, loaded: Step, split: Step) -> Step:
        examples = steps.examples(loaded)
        truth = steps.truth(loaded, split, (Part.WEAK_TRAIN, Part.WEAK_VALIDATION))
        training = cell.student_training
        if isinstance(training, Finetune):
            training = Probe(features=training.as_features())
        spec = ProbeFit(
            method=parse_method("naive"),
            seed=cell.seed,
            training=training,
            train_part=Part.WEAK_TRAIN,
            validation_part=Part.WEAK_VALIDATION,
            predict=RATED,
        )
        rungs = [
            steps.probe(
                steps.features(examples, model, training.features),
                split,
                truth,
                spec,
                f"difficulty by {model.name}, seed {cell.seed}",
            )
            for model in self._rungs(cell.student)
        ]
        return steps_easy.model_difficulty(rungs, steps.truth(loaded, split, RATED), RATED)

    def _rungs(self, student: ModelSpec) -> tuple[ModelSpec, ...]:
        if self.ladder:
            return self.ladder
        depth = card(student).layers
        if depth is None or depth < 2:
            raise ConfigError(
                f"easy-to-hard: the depth of {student.name} is {depth or 'not known here'}, so it has no rungs; name "
                "models with ladder"
            )
        depths = sorted({max(1, round(depth * (i + 1) / self.rungs)) for i in range(self.rungs)})
        return tuple(
            student
            if d == depth
            else student.model_copy(update={"layers": d, "name": f"{student.name}, first {d} layers"})
            for d in depths
        )

    def _judged(self, cell: Cell, loaded: Step, split: Step) -> Step:
        model = self.judge or cell.student
        if card(model).family == "encoder":
            raise ConfigError(
                f"easy-to-hard:by=judged asks a decoder, {model.name} is an encoder; name one with judge, e.g. "
                "judge=smollm2-135m"
            )
        spec = JudgeSpec(
            model=model,
            instruction=cell.task.instruction,
            parts=RATED,
            comparisons=self.comparisons,
            words=self.words,
            prior=self.prior,
            seed=cell.seed,
            precision=self.precision,
        )
        return steps_easy.judge(steps.examples(loaded), split, spec)

    def _given(self, cell: Cell, loaded: Step, split: Step) -> Step:
        return steps_easy.given_difficulty(loaded, split, RATED)

    # --- what is measured

    def measure(self, runs: Runs) -> list[dict[str, Any]]:
        arms = self._arms(runs.cells[0])
        difficulty_SN = np.stack([_of(runs.ids, *read_difficulty(f)) for f in runs.opened("difficulty")])
        correct = {name: runs.scored(name) for name in arms}
        correct |= {arm: runs.correct(arm) for arm in ("supervisor", "student", "ceiling")}
        places = self._places(difficulty_SN)
        rows = []
        for name, correct_SN in correct.items():
            more: dict[str, Any] = {
                "arm": "easy" if name.startswith("up to") else name,
                "cutoff": arms.get(name),
                "scale": self._scale,
                "uses_ground_truth": name in arms or name == "ceiling",
            }
            if name in arms:
                more["train_rows"] = _mean_rows(runs, name)
            for where, chosen_SN in places.items():
                at = more | {"where": where, "rows": int(chosen_SN.sum())}
                rows.append(measured("accuracy", ratio_interval(correct_SN & chosen_SN, chosen_SN), **at))
                if more["arm"] == "easy":
                    gain_SN = (correct_SN.astype(np.float64) - correct[RANDOM]) * chosen_SN
                    rows.append(measured("gain over random", ratio_interval(gain_SN, chosen_SN), **at))
        return rows

    def _places(self, difficulty_SN: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.bool_]]:
        """Rows [S, N] of each place: all, the hard ones, and each level or quartile of difficulty."""
        # The next row's own value, not one between rows: with levels, "hard" then is a whole number of them.
        hard = np.quantile(difficulty_SN, 1 - self.hard, method="higher")
        places = {"all": np.ones_like(difficulty_SN, dtype=bool), "hard": difficulty_SN >= hard}
        levels = np.unique(difficulty_SN)
        if len(levels) <= FEW:
            return places | {f"difficulty {level:g}": difficulty_SN == level for level in levels}
        edges = np.quantile(difficulty_SN, QUARTILES)
        band_SN = np.searchsorted(edges, difficulty_SN)
        return places | {f"quarter {i + 1} of difficulty": band_SN == i for i in range(len(edges) + 1)}


def _refitted(ceiling: Step, split: Step) -> Step:
    """The ceiling's training on another split's transfer rows, to its last step."""
    spec, rest = ceiling.spec, dict(ceiling.inputs)
    assert isinstance(spec, (ProbeFit, FinetuneFit))
    spec = spec.model_copy(update={"method": parse_method("early-stop:on=last")})
    if isinstance(spec, FinetuneFit):
        training = spec.training.model_copy(update={"save_weights": False})
        spec = spec.model_copy(update={"training": training})
    labels, title = rest.pop("labels"), f"{ceiling.title}, {split.title}"
    del rest["split"]
    if isinstance(spec, ProbeFit):
        return steps.probe(rest.pop("features"), split, labels, spec, title, **rest)
    return steps.finetune(rest.pop("examples"), split, labels, spec, title, **rest)


def _of(ids: list[str], have: list[str], difficulty_N: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return difficulty_N[positions(ids, have, "difficulty of the test part")]


def _mean_rows(runs: Runs, name: str) -> float:
    """Rows trained on, on average over seeds."""
    splits = [own[name].inputs["predictions"].inputs["split"] for own in runs.own]
    return float(
        np.mean([runs.store.record(s)["summary"]["rows_per_part"][str(Part.TRANSFER)] for s in splits])
    )
