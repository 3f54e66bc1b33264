"""The practitioner's job: weak labels in, a trained student out, as an ordinary Hugging Face folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from weakstrong import steps
from weakstrong.data import Part
from weakstrong.errors import ConfigError, ModelError, TrainingError
from weakstrong.experiment import REGIMES, Cell
from weakstrong.graph import Graph
from weakstrong.methods.base import Method, parse_method
from weakstrong.models.base import ModelSpec, card, parse_model
from weakstrong.schedule import Listener, run_steps
from weakstrong.stats import Interval, wilson
from weakstrong.steps import TrainSplit
from weakstrong.store import Step, Store
from weakstrong.supervisors import FileLabels
from weakstrong.tasks.base import TaskKind
from weakstrong.tasks.file import FileTask
from weakstrong.tasks.preference_file import PreferenceFileTask
from weakstrong.training.comparisons import REWARD, one_output
from weakstrong.training.spec import Finetune, Probe, Runtime


@dataclass(frozen=True)
class TrainedStudent:
    """What `train_student` made.

    Attributes:
        folder: an ordinary Hugging Face folder, with a model card.
        agreement: share in [0, 1] of held-out rows whose class equals the weak label.
        score: accuracy on the rows with ground truth, with a 95 % Wilson interval; None without such rows.
        weak_score: the same of the weak labels themselves.
    """

    folder: Path
    classes: tuple[str, ...]
    agreement: float
    score: Interval | None
    weak_score: Interval | None
    rows: dict[str, int]


def train_student(
    data: str | Path,
    *,
    weak_label: str | Sequence[str],
    out: str | Path,
    text: str = "text",
    first: str | None = None,
    second: str | None = None,
    prompt: str | None = None,
    student: str | ModelSpec = "smollm2-135m:22",
    method: str | Method = "confidence",
    label: str | None = None,
    group: str | None = None,
    id: str | None = None,
    weak_labels: str | Path | None = None,
    training: Finetune | Probe | str = "finetune",
    seed: int = 0,
    store: str | Path | Store | None = None,
    runtime: Runtime | None = None,
    listener: Listener | None = None,
) -> TrainedStudent:
    """Train a student on a file of texts with weak labels, or a reward model on comparisons with weak preferences.

    Rows with ground truth (``label``, may be empty elsewhere) never train: they score the student and the weak
    labels. A tenth of the other rows is held out to choose the best moment by agreement with the weak labels.

    Args:
        data: CSV, TSV, JSON lines, Parquet or a Hugging Face data set folder.
        weak_label: one column of class names, one of probabilities of the second class, or one per class. Of comparisons:
            one column with the probability that the second text is preferred.
        text: column of the texts.
        first: column of one of two texts to compare; the student is then a reward model, an ordinary sequence
            classifier with one output.
        second: column of the other.
        prompt: column of what both texts answer.
        out: folder to write; must not exist or be empty.
        student: embedded name, ``hub:org/name@revision`` or folder.
        weak_labels: another file with the weak-label columns, joined by the column ``id``.
        training: a spec, or ``"finetune"`` or ``"probe"``; a probe needs a decoder, and takes minutes.

    Raises:
        DataError, ConfigError, ModelError: before anything is trained.
        TrainingError: if training failed; the reason is in the message.
    """
    from weakstrong.api import default_store

    target = Path(out).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists and is not empty; choose another --out")
    columns: dict[str, Any] = {"path": str(data), "label": label, "group": group, "id": id}
    columns |= {"weak_label": weak_label, "limit": 10_000_000}
    if first is None and second is None:
        apart = None if weak_labels is None else str(weak_labels)
        task: FileTask | PreferenceFileTask = FileTask.parse(
            columns | {"text": text, "weak_labels_path": apart}, "the data"
        )
    elif weak_labels is not None:
        raise ConfigError("the weak labels of comparisons are a column of the data: leave --weak-labels out")
    else:
        task = PreferenceFileTask.parse(
            columns | {"first": first, "second": second, "prompt": prompt}, "the data"
        )
    model, chosen = parse_model(student), parse_method(method)
    if chosen.prompt is not None:
        raise ConfigError(f"{chosen.name} trains no student; use it in an experiment (w2s run)")
    if chosen.calibrates or chosen.uses_ground_truth:
        raise ConfigError(f"{chosen.name} needs ground truth that only an experiment has (w2s run)")
    if chosen.hint is not None:
        raise ConfigError(
            f"{chosen.name} tells the student the weak labels of its test rows; it is a control (w2s run)"
        )
    spec = _training(training, model)
    # A cell without a scored supervisor or a ceiling: only its student is computed.
    cell = Cell.model_construct(
        kind="cell",
        task=task,
        supervisor=FileLabels(),
        student=model,
        method=chosen,
        seed=seed,
        split=TrainSplit(seed=seed),  # type: ignore[arg-type]  # not an experiment's split
        supervisor_training=Probe(),
        student_training=spec,
    )
    made = Graph().cell(cell)
    fit, weak = made.student_fit, made.supervisor_fit
    split, loaded = weak.inputs["split"], weak.inputs["load"]
    opened = store if isinstance(store, Store) else Store(store or default_store())
    with opened.busy():  # a gc meanwhile waits: no experiment names these results
        report = run_steps([fit, weak], opened, runtime, listener)
        if report.failed:
            raise TrainingError("; ".join(report.failed.values()))
        return _export(
            target,
            task,
            model,
            chosen,
            spec,
            seed,
            loaded,
            split,
            weak,
            fit,
            opened,
            runtime or Runtime(),
            listener,
        )


def _training(training: Finetune | Probe | str, model: ModelSpec) -> Finetune | Probe:
    if isinstance(training, str):
        if training not in REGIMES:
            raise ConfigError(f"training is probe or finetune, found {training!r}")
        training = REGIMES[training]()
    if isinstance(training, Probe):
        if card(model).family == "encoder":
            raise ModelError(
                f"{model.name} is an encoder: its probe reads the mean token and has no ordinary head; use finetune"
            )
        return training
    return training.model_copy(update={"save_weights": True})


def _export(
    target: Path,
    task: FileTask | PreferenceFileTask,
    model: ModelSpec,
    method: Method,
    spec: Finetune | Probe,
    seed: int,
    loaded: Step,
    split: Step,
    weak: Step,
    fit: Step,
    store: Store,
    runtime: Runtime,
    listener: Listener | None,
) -> TrainedStudent:
    from weakstrong.builders.data import PROBABILITIES, ids_of
    from weakstrong.data import positions, read_probabilities

    classes = tuple(json.loads((store.open(loaded) / "classes.json").read_text()))
    validation = ids_of(store.open(split), [Part.VALIDATION])
    guesses = []
    for step in (fit, weak):
        ids, probs_NC = read_probabilities(store.open(step) / PROBABILITIES)
        guesses.append(probs_NC[positions(validation, ids, "validation")].argmax(1))
    agreement = float((guesses[0] == guesses[1]).mean())
    rows = store.record(split)["summary"]["rows_per_part"]
    scores: list[Interval | None] = [None, None]
    if rows[Part.TEST]:
        truth = steps.truth(loaded, split, (Part.TEST,))
        scored = [steps.score(p, truth) for p in (fit, weak)]
        run_steps(scored, store, runtime, listener)
        summaries = [store.record(s)["summary"] for s in scored]
        scores = [wilson(round(s["accuracy"] * s["rows"]), s["rows"]) for s in summaries]
    result = TrainedStudent(target, classes, agreement, scores[0], scores[1], rows)
    building = target.with_name(f".{target.name}-{uuid4().hex[:8]}")
    try:
        building.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(spec, Finetune):
            shutil.copytree(store.open(fit) / "model", building)
        else:
            _save_probe(building, store.open(fit), model, spec, classes, task.task_kind)
        (building / "README.md").write_text(
            model_card(result, task, model, method, spec, seed), encoding="utf-8"
        )
        if target.exists():
            target.rmdir()
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return result


def _save_probe(
    target: Path, fit: Path, model: ModelSpec, spec: Probe, classes: tuple[str, ...], kind: TaskKind
) -> None:
    """Fold a head into the model's own classification layer; of comparisons into one output."""
    import torch
    from safetensors.numpy import load_file

    from weakstrong.models._load import classification_layer, load_classifier

    weight_DC = load_file(fit / "head.safetensors")["weight_DC"]
    if kind is TaskKind.PREFERENCE:
        classes, weight_DC = REWARD, one_output(weight_DC)
    network, tokenizer = load_classifier(model, classes, "zeros", 0.0, 0)
    with torch.no_grad():
        classification_layer(network).weight.copy_(torch.from_numpy(weight_DC.T.copy()))
    tokenizer.model_max_length = spec.features.max_tokens
    network.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _names(columns: str | Sequence[str] | None) -> str:
    return columns if isinstance(columns, str) else ", ".join(columns or ())


def _percent(interval: Interval) -> str:
    return (
        f"{100 * interval.value:.1f} % (95 % interval {100 * interval.low:.1f} to {100 * interval.high:.1f})"
    )


CLASSIFY = """from transformers import pipeline

classify = pipeline("text-classification", model=".", truncation=True)"""
REWARDS = """from transformers import pipeline

# A reward model: the sigmoid of the difference of two answers' rewards is the probability that the one is preferred.
reward = pipeline("text-classification", model=".", truncation=True, function_to_apply="none")
better = reward(prompt + "\\n\\n" + answer)[0]["score"]"""


def model_card(
    result: TrainedStudent,
    task: FileTask | PreferenceFileTask,
    model: ModelSpec,
    method: Method,
    spec: Finetune | Probe,
    seed: int,
) -> str:
    """The README of an exported student."""
    facts = card(model)
    truth = (
        f"On {result.rows[Part.TEST]} rows with ground truth, which did not train it, its accuracy is "
        f"**{_percent(result.score)}**; the weak labels of the same rows have {_percent(result.weak_score)}."
        if result.score is not None and result.weak_score is not None
        else "No rows with ground truth were given, so **nothing here says how often it is right**. Agreement with weak "
        "labels is not accuracy: a student that is better than its labels must disagree with some."
    )
    header = "---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags: [weak-to-strong, weakstrong]\n---\n"
    return f"""{header}
# A student of weak labels

Trained by weakstrong on weak labels: labels that are expected to be wrong in places.

| | |
|---|---|
| student | {model.name} ({facts.licence}), weights {model.weights[:16]} |
| method | {method.name} ({method.source}) |
| training | {spec.kind}, seed {seed}: `{spec.canonical_json}` |
| data | {Path(task.path).name}, SHA-256 {task.sha256[:16]}, weak labels in {_names(task.weak_label)} |
| rows | {result.rows[Part.TRANSFER]} trained on, {result.rows[Part.VALIDATION]} held out to stop by |
| classes | {", ".join(result.classes)} |
| agreement with the weak labels of held-out rows | {100 * result.agreement:.1f} % |

## How far to trust it
{truth}

## Use
```python
{CLASSIFY if task.task_kind is TaskKind.CLASSIFICATION else REWARDS}
```
"""
