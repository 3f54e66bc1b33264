"""Whether finetuning on weak labels makes the task more salient to a linear probe (paper §5.2.3, Fig. 11).

Legend: S seeds, N test rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from weakstrong import steps
from weakstrong.analyses.base import ANALYSES, Analysis, measured
from weakstrong.analyses.runs import Runs
from weakstrong.data import Part
from weakstrong.methods.base import parse_method
from weakstrong.models.base import ModelSpec
from weakstrong.stats import ratio_interval
from weakstrong.steps import FinetuneFit, ProbeFit
from weakstrong.training.spec import Finetune, Probe

if TYPE_CHECKING:
    from weakstrong.experiment import Cell
    from weakstrong.graph import CellSteps, Graph
    from weakstrong.store import Step

READ = (Part.TRANSFER, Part.VALIDATION, Part.TEST)
"""Parts whose features a probe needs."""


@ANALYSES.register
class Saliency(Analysis):
    """Accuracy of five strategies: lp(weak), lp(gt), ft(weak), ft(weak)+lp(gt), ft(gt).

    lp is a linear probe on the student's features, ft the cell's own finetuning; gt are the ceiling's labels of the
    same transfer rows. ft(weak)+lp(gt) probes the features of the finetuned student: above lp(gt), weak labels have
    made the task more salient (paper: 72 % lp(gt), 78 % ft(weak)+lp(gt), 82 % ft(gt)). Rows ``gain`` are differences
    to lp(gt) on the same rows and seeds. ft(weak) is the cell's method; every probe is naive.

    Cells whose student is finetuned, not probed. The finetuned weights are read where the cell keeps them
    (``student_training: {save_weights: true}``); else the student is trained once more and kept.
    """

    source: ClassVar[str] = "Burns et al. 2023, §5.2.3, Fig. 11"
    kind: Literal["saliency"] = "saliency"
    probe: Probe = Probe()
    """Training of the probes; their features follow the finetuning's ``max_tokens`` and precision."""

    def refuses(self, cell: Cell) -> str:
        if not isinstance(cell.student_training, Finetune) or cell.method.prompt is not None:
            return "the student is not finetuned"
        if cell.method.uses_ground_truth:
            return f"{cell.method.name} is stopped by ground truth"
        return ""

    def steps(self, cell: Cell, made: CellSteps, graph: Graph) -> dict[str, Step]:
        student, ceiling = made.student_fit, made.ceiling_fit
        spec = student.spec
        assert isinstance(spec, FinetuneFit)
        kept = student
        if not spec.training.save_weights:
            training = spec.training.model_copy(update={"save_weights": True})
            kept = steps.finetune(
                student.inputs["examples"],
                student.inputs["split"],
                student.inputs["labels"],
                spec.model_copy(update={"training": training}),
                f"{student.title}, weights kept",
                **{r: s for r, s in student.inputs.items() if r not in ("examples", "split", "labels")},
            )
        looked = spec.training.as_features()
        head = ProbeFit(
            method=parse_method("naive"),
            seed=cell.seed,
            training=self.probe.model_copy(update={"features": looked}),
            train_part=Part.TRANSFER,
            validation_part=Part.VALIDATION,
            predict=(Part.VALIDATION, Part.TEST),
        )
        examples, split = ceiling.inputs["examples"], ceiling.inputs["split"]
        assert isinstance(cell.student, ModelSpec)
        base = steps.features(examples, cell.student, looked)
        tuned = steps.features(examples, cell.student, looked, kept, READ)
        gt = ceiling.inputs["labels"]
        fits = {
            "lp(weak)": (base, made.supervisor_fit),
            "lp(gt)": (base, gt),
            "ft(weak)+lp(gt)": (tuned, gt),
        }
        truth = made.ceiling.inputs["truth"]
        return {
            name: steps.score(
                steps.probe(features, split, labels, head, f"{name}, seed {cell.seed}"), truth, name
            )
            for name, (features, labels) in fits.items()
        }

    def measure(self, runs: Runs) -> list[dict[str, Any]]:
        correct = {
            "lp(weak)": runs.scored("lp(weak)"),
            "lp(gt)": runs.scored("lp(gt)"),
            "ft(weak)": runs.correct("student"),
            "ft(weak)+lp(gt)": runs.scored("ft(weak)+lp(gt)"),
            "ft(gt)": runs.correct("ceiling"),
        }
        rows = []
        for strategy, correct_SN in correct.items():
            more = {"strategy": strategy, "uses_ground_truth": "gt" in strategy}
            rows.append(measured("accuracy", ratio_interval(correct_SN), **more))
            if strategy != "lp(gt)":
                gain_SN = correct_SN.astype(np.float64) - correct["lp(gt)"]
                rows.append(measured("gain", ratio_interval(gain_SN), **more))
        return rows
