"""The few step constructors: what a step is made of, and what it may read.

Ground truth is sealed. `load` and `truth` hold it; only `examples`, `split`, `truth`, `weak_labels` and `score` may read
`load`, and only a fit of a supervisor or a ceiling, and `score`, may read `truth`. A student's fit reads texts or
features, which rows are in which part, and somebody's class probabilities. Nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from weakstrong.data import Part, Split
from weakstrong.methods.base import Method, parse_method
from weakstrong.models.base import ModelSpec
from weakstrong.spec import Spec
from weakstrong.store import Step
from weakstrong.tasks.base import Task
from weakstrong.training.spec import FeatureSpec, Finetune, Probe

SEALED = frozenset({"load", "truth"})
READERS_OF_LOAD = frozenset({"examples", "split", "truth", "weak_labels"})

AnyMethod = Annotated[SerializeAsAny[Method], BeforeValidator(parse_method)]


class Plain(Spec):
    """A step without parameters of its own."""

    kind: Literal["plain"] = "plain"


class TrainSplit(Spec):
    """How `train_student` deals rows: rows with ground truth are the test part, the rest learn, whole groups."""

    kind: Literal["train-split"] = "train-split"
    validation_share: float = Field(0.1, gt=0, lt=1)
    seed: int = 0


class TruthSpec(Spec):
    """Parts whose ground truth is unsealed."""

    kind: Literal["truth"] = "truth"
    parts: tuple[Part, ...]


class FeaturesOf(Spec):
    """Features of one rung."""

    kind: Literal["features-of"] = "features-of"
    model: ModelSpec
    features: FeatureSpec


class FitSpec(Spec):
    """One training: on which part, stopped by which, with predictions for which."""

    method: AnyMethod
    seed: int
    train_part: Part
    validation_part: Part
    predict: tuple[Part, ...]


class ProbeFit(FitSpec):
    """Training of a head."""

    kind: Literal["probe-fit"] = "probe-fit"
    training: Probe


class FinetuneFit(FitSpec):
    """Training of a model."""

    kind: Literal["finetune-fit"] = "finetune-fit"
    model: ModelSpec
    training: Finetune


class ScoreSpec(Spec):
    """Accuracy on a part."""

    kind: Literal["score"] = "score"
    part: Part = Part.TEST


def load(task: Task) -> Step:
    """All rows of a task with ground truth (sealed): ``rows.parquet``, ``classes.json``."""
    return Step("load", 1, task, builder="weakstrong.builders.data:build_load", title=f"rows of {task.name}")


def examples(loaded: Step) -> Step:
    """What students may see: ``examples.parquet`` (id, group, text) and ``classes.json``."""
    return Step(
        "examples", 1, Plain(), {"load": loaded}, "weakstrong.builders.data:build_examples", title="texts"
    )


def split(loaded: Step, spec: Split | TrainSplit) -> Step:
    """Which row is in which part: ``split.parquet`` (id, part)."""
    return Step(
        "split", 1, spec, {"load": loaded}, "weakstrong.builders.data:build_split", title=f"split {spec.seed}"
    )


def truth(loaded: Step, split: Step, parts: tuple[Part, ...]) -> Step:
    """Ground truth of some parts (sealed): ``probabilities.parquet`` with ones and zeros."""
    inputs = {"load": loaded, "split": split}
    return Step(
        "truth",
        1,
        TruthSpec(parts=parts),
        inputs,
        "weakstrong.builders.data:build_truth",
        title="ground truth",
    )


def weak_labels(loaded: Step, split: Step) -> Step:
    """Weak labels that came with the rows: ``probabilities.parquet``."""
    inputs = {"load": loaded, "split": split}
    return Step(
        "weak_labels", 1, Plain(), inputs, "weakstrong.builders.data:build_weak_labels", title="weak labels"
    )


def features(examples: Step, model: ModelSpec, spec: FeatureSpec) -> Step:
    """Vectors of all texts at one rung: ``features.safetensors`` [N, D], ``ids.parquet``. Rungs share a pass."""
    group = f"features {model.weights} {model.trust_remote_code} {spec.key()} {examples.key}"
    return Step(
        "features",
        1,
        FeaturesOf(model=model, features=spec),
        {"examples": examples},
        "weakstrong.builders.fits:build_features",
        group,
        f"features of {model.name}",
    )


def probe(features: Step, split: Step, labels: Step, spec: ProbeFit, title: str = "probe") -> Step:
    """A head: ``head.safetensors``, ``probabilities.parquet`` for the parts asked. Heads train together."""
    group = f"probe {spec.training.canonical_json} {spec.method.canonical_json}"
    inputs = {"features": features, "split": split, "labels": labels}
    return Step("probe", 1, spec, inputs, "weakstrong.builders.fits:build_probe", group, title)


def finetune(examples: Step, split: Step, labels: Step, spec: FinetuneFit, title: str = "finetune") -> Step:
    """A finetuned model: ``probabilities.parquet``, and ``model/`` if the spec keeps weights."""
    inputs = {"examples": examples, "split": split, "labels": labels}
    return Step("finetune", 1, spec, inputs, "weakstrong.builders.fits:build_finetune", title=title)


def score(predictions: Step, truth: Step, title: str = "score") -> Step:
    """Correctness of every test row: ``correct.parquet`` (id, correct); accuracy in the record."""
    inputs = {"predictions": predictions, "truth": truth}
    return Step("score", 1, ScoreSpec(), inputs, "weakstrong.builders.data:build_score", "score", title)
