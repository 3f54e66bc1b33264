"""The few step constructors: what a step is made of, and what it may read.

Ground truth is sealed. `load` and `truth` hold it; only `examples`, `split`, `truth`, `weak_labels`, and the checks `twins`
and `check` may read `load`, and only a fit of a supervisor or a ceiling, the supervisor's `calibrate` and `derive`, and
`score`, may read `truth`. A student's fit reads texts or features, which rows are in which part, and somebody's class
probabilities. Nothing here imports torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from weakstrong.data import Part, Split
from weakstrong.derived.base import Rule, parse_rule
from weakstrong.methods.base import Method, parse_method
from weakstrong.models.base import ModelSpec
from weakstrong.spec import Spec
from weakstrong.store import Step
from weakstrong.supervisors import FileLabels, RaterLabels
from weakstrong.tasks.base import Task
from weakstrong.training.spec import FeatureSpec, Finetune, Generative, Hint, Perturb, Probe, Prompt

ORACLE = "oracle_labels"
"""Role of ground truth that a fit reads to choose its moment; only a method that ``uses_ground_truth`` has it."""
SEALED = frozenset({"load", "truth"})
READERS_OF_LOAD = frozenset({"examples", "split", "truth", "weak_labels", "twins", "check"})

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
    parts: tuple[Part, ...] | None = Field(None, description="texts of these parts only; empty: all")


class FitSpec(Spec):
    """One training: on which part, stopped by which, with predictions for which."""

    method: AnyMethod
    seed: int
    train_part: Part
    train_slice: tuple[int, int] | None = Field(
        None, description="(i, n): of the part's rows every n-th, from the i-th"
    )
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


class TuneSpec(Spec):
    """Language-model training on the texts of some parts."""

    kind: Literal["tune"] = "tune"
    model: ModelSpec
    start: Generative
    seed: int
    parts: tuple[Part, ...]


class PromptSpec(Spec):
    """Classification by prompting."""

    kind: Literal["prompt-fit"] = "prompt-fit"
    model: ModelSpec
    prompt: Prompt
    seed: int
    shot_part: Part
    predict: tuple[Part, ...]


class CalibrateSpec(Spec):
    """Which rows set the temperature."""

    kind: Literal["calibrate"] = "calibrate"
    part: Part


class WeakLabelsSpec(Spec):
    """Whose labels, and the seed by which raters are drawn."""

    kind: Literal["weak-labels"] = "weak-labels"
    supervisor: FileLabels | RaterLabels
    seed: int = Field(0, description="0 where nothing is drawn")


class DeriveSpec(Spec):
    """How labels are made from others, of which parts, and the seed of what is drawn."""

    kind: Literal["derive"] = "derive"
    rule: Annotated[SerializeAsAny[Rule], BeforeValidator(parse_rule)]
    parts: tuple[Part, ...]
    seed: int


class NarrowSpec(Spec):
    """How many of the features are kept, or which share of them, from the first."""

    kind: Literal["narrow"] = "narrow"
    k: int | None = None
    share: float | None = None


class HintSpec(Spec):
    """What line, and which parts it is written for."""

    kind: Literal["hint-rows"] = "hint-rows"
    hint: Hint
    parts: tuple[Part, ...]


class ScoreSpec(Spec):
    """Accuracy on a part."""

    kind: Literal["score"] = "score"
    part: Part = Part.TEST


def load(task: Task) -> Step:
    """All rows of a task with ground truth (sealed): ``rows.parquet``, ``classes.json``."""
    return Step("load", 2, task, builder="weakstrong.builders.data:build_load", title=f"rows of {task.name}")


def examples(loaded: Step) -> Step:
    """What students may see: ``examples.parquet`` (id, group, text) and ``classes.json``."""
    return Step(
        "examples", 1, Plain(), {"load": loaded}, "weakstrong.builders.data:build_examples", title="texts"
    )


def split(loaded: Step, spec: Split | TrainSplit) -> Step:
    """Which row is in which part: ``split.parquet`` (id, part)."""
    return Step(
        "split", 2, spec, {"load": loaded}, "weakstrong.builders.data:build_split", title=f"split {spec.seed}"
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


def weak_labels(loaded: Step, split: Step, spec: WeakLabelsSpec) -> Step:
    """Weak labels that came with the rows: ``probabilities.parquet``."""
    inputs = {"load": loaded, "split": split}
    title = f"weak labels {spec.supervisor.name}, seed {spec.seed}"
    return Step("weak_labels", 2, spec, inputs, "weakstrong.builders.labels:build_weak_labels", title=title)


def twins(loaded: Step) -> Step:
    """Near-duplicates among a task's rows: ``twins.parquet`` (a, b, similarity)."""
    title = f"near-duplicates in {loaded.title}"
    return Step("twins", 1, Plain(), {"load": loaded}, "weakstrong.builders.checks:build_twins", title=title)


def check(loaded: Step, split: Step, twins: Step) -> Step:
    """What could make numbers of this split mislead: ``findings.json``. Reads ground truth; nothing reads it."""
    inputs = {"load": loaded, "split": split, "twins": twins}
    return Step(
        "check",
        1,
        Plain(),
        inputs,
        "weakstrong.builders.checks:build_check",
        title=f"checks of {split.title}",
    )


def perturb(examples: Step, spec: Perturb) -> Step:
    """Another view of every text: ``examples.parquet`` with the same ids."""
    return Step(
        "perturb",
        1,
        spec,
        {"examples": examples},
        "weakstrong.builders.views:build_perturb",
        title="second view",
    )


def calibrate(labels: Step, truth: Step, split: Step) -> Step:
    """Labels at the temperature that fits ``truth`` best: ``probabilities.parquet``. The supervisor's side."""
    inputs = {"labels": labels, "truth": truth, "split": split}
    return Step(
        "calibrate",
        1,
        CalibrateSpec(part=Part.WEAK_VALIDATION),
        inputs,
        "weakstrong.builders.views:build_calibrate",
        title=f"calibrated {labels.title}",
    )


def derive(labels: Step, split: Step, spec: DeriveSpec, **more: Step) -> Step:
    """Labels that a rule makes from ``labels``: ``probabilities.parquet``. The supervisor's side.

    ``more`` are what the rule reads: ``truth``, ``examples``, ``ceiling`` (predictions of a model like the ceiling).
    """
    inputs = {"labels": labels, "split": split} | more
    title = f"{spec.rule.name} of {labels.title}"
    return Step("derive", 1, spec, inputs, "weakstrong.builders.derived:build_derive", title=title)


def narrow(features: Step, spec: NarrowSpec) -> Step:
    """The first columns of features: ``features.safetensors`` [N, k], ``ids.parquet``."""
    how = f"{spec.k}" if spec.share is None else f"{spec.share:g} of all"
    title = f"{features.title}, the first {how}"
    return Step(
        "narrow", 1, spec, {"features": features}, "weakstrong.builders.derived:build_narrow", title=title
    )


def hint(examples: Step, labels: Step, split: Step, spec: HintSpec) -> Step:
    """Texts of some parts with a line that states their label: ``examples.parquet``, ``classes.json``."""
    inputs = {"examples": examples, "labels": labels, "split": split}
    title = f"texts with a word on {labels.title}"
    return Step("hint", 1, spec, inputs, "weakstrong.builders.derived:build_hint", title=title)


def tune(examples: Step, split: Step, spec: TuneSpec) -> Step:
    """Generative finetuning: ``model/``, a causal language model."""
    inputs = {"examples": examples, "split": split}
    title = f"generative finetuning of {spec.model.name}, seed {spec.seed}"
    return Step("tune", 1, spec, inputs, "weakstrong.builders.starts:build_tune", title=title)


def prompt(examples: Step, split: Step, labels: Step | None, spec: PromptSpec) -> Step:
    """Class probabilities after a prompt: ``probabilities.parquet``."""
    inputs = {"examples": examples, "split": split} | ({} if labels is None else {"labels": labels})
    title = f"prompting {spec.model.name}, {spec.prompt.shots} examples, seed {spec.seed}"
    return Step("prompt", 1, spec, inputs, "weakstrong.builders.starts:build_prompt", title=title)


def features(
    examples: Step,
    model: ModelSpec,
    spec: FeatureSpec,
    start: Step | None = None,
    parts: tuple[Part, ...] | None = None,
) -> Step:
    """Vectors of texts at one rung: ``features.safetensors`` [N, D], ``ids.parquet``. Rungs share a pass.

    ``start`` is a `tune` step, or a `finetune` step that keeps weights, whose weights take the place of the pretrained
    ones. They serve one seed only, so that
    just the texts of some ``parts`` of its split are worth a pass; otherwise all texts are.
    """
    tuned = "" if start is None else start.key
    group = f"features {model.weights} {model.trust_remote_code} {spec.key()} {examples.key} {tuned}"
    return Step(
        "features",
        1,
        FeaturesOf(model=model, features=spec, parts=parts),
        {"examples": examples} | ({} if start is None else {"start": start, "split": start.inputs["split"]}),
        "weakstrong.builders.fits:build_features",
        group,
        f"features of {model.name}",
    )


def probe(
    features: Step, split: Step, labels: Step, spec: ProbeFit, title: str = "probe", **more: Step
) -> Step:
    """A head: ``head.safetensors``, ``probabilities.parquet`` for the parts asked. Heads train together.

    ``more`` are inputs of some methods: ``view`` (features of another view), ``oracle_labels``.
    """
    group = f"probe {spec.training.canonical_json} {spec.method.canonical_json}"
    inputs = {"features": features, "split": split, "labels": labels} | more
    return Step("probe", 3, spec, inputs, "weakstrong.builders.fits:build_probe", group, title)


def finetune(
    examples: Step, split: Step, labels: Step, spec: FinetuneFit, title: str = "finetune", **more: Step
) -> Step:
    """A finetuned model: ``probabilities.parquet``, and ``model/`` if the spec keeps weights.

    ``more`` are inputs of some methods: ``view`` (examples of another view), ``start`` (tuned weights), ``head`` (a
    probe), ``oracle_labels``.
    """
    inputs = {"examples": examples, "split": split, "labels": labels} | more
    return Step("finetune", 2, spec, inputs, "weakstrong.builders.fits:build_finetune", title=title)


def trajectory(fit: Step) -> Step:
    """A student's fit once more, to the same spec and inputs, with what it says of the test part at every evaluation.

    ``trajectory.safetensors``: ``probs_ENC`` (float16, so good to 0.0005), ``guess_EN`` (int16, of the float32
    probabilities), ``epoch_E`` (float32, epochs trained), ``validation_E`` (float32, agreement with the validation
    labels), ``kept`` (int64 [1], the evaluation whose weights the fit keeps); ``ids.parquet`` names the N rows.
    """
    title = f"trajectory of {fit.title}"
    builder = f"weakstrong.builders.trajectory:build_{fit.name}_trajectory"
    return Step(f"{fit.name}_trajectory", 1, fit.spec, fit.inputs, builder, fit.group, title)


def score(predictions: Step, truth: Step, title: str = "score") -> Step:
    """Correctness of every test row: ``correct.parquet`` (id, correct); accuracy in the record."""
    inputs = {"predictions": predictions, "truth": truth}
    return Step("score", 1, ScoreSpec(), inputs, "weakstrong.builders.data:build_score", "score", title)
