"""From cells to steps: the graph behind each cell's three numbers. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weakstrong import steps
from weakstrong.data import Part, Split
from weakstrong.errors import ConfigError
from weakstrong.experiment import Cell
from weakstrong.methods.base import Arm, Method, parse_method
from weakstrong.models.base import ModelSpec, card
from weakstrong.steps import (
    DeriveSpec,
    FinetuneFit,
    HintSpec,
    NarrowSpec,
    ProbeFit,
    PromptSpec,
    TuneSpec,
    WeakLabelsSpec,
)
from weakstrong.store import Step
from weakstrong.supervisors import DerivedLabels, FirstFeatures, RaterLabels, Supervisor
from weakstrong.tasks.base import TaskKind
from weakstrong.training.spec import FeatureSpec, Finetune, Generative, Probe, ProbeFirst

CEILING_PARTS = (Part.TRANSFER, Part.VALIDATION)
SUPERVISOR_PARTS = (Part.WEAK_TRAIN, Part.WEAK_VALIDATION)
LABELLED_PARTS = (Part.WEAK_VALIDATION, Part.TRANSFER, Part.VALIDATION, Part.TEST)


@dataclass(frozen=True)
class CellSteps:
    """The steps that give a cell its three numbers."""

    supervisor_fit: Step
    student_fit: Step
    ceiling_fit: Step
    supervisor: Step
    student: Step
    ceiling: Step

    check: Step

    def scores(self) -> tuple[Step, Step, Step]:
        """Supervisor, student, ceiling."""
        return self.supervisor, self.student, self.ceiling


@dataclass(frozen=True)
class _Rows:
    """The steps on rows that all fits of a (task, split) share."""

    loaded: Step
    split: Step
    examples: Step
    test: Step
    check: Step


class Graph:
    """Turns cells into steps; steps that several cells share are made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Any] = {}
        self._cells: list[Cell] = []  # keeps alive what the ids in the keys of _made stand for
        self._naive = parse_method("naive")

    def _once(self, make: Any, *key: object) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def cell(self, cell: Cell) -> CellSteps:
        """The steps of one cell.

        Raises:
            ConfigError: if the method cannot be used with the cell's models or regime.
        """
        self._cells.append(cell)
        c, method = cell, cell.method
        rows = self._rows(cell)
        weak = self._supervisor(c, rows, c.supervisor)
        truth = self._once(
            lambda: steps.truth(rows.loaded, rows.split, CEILING_PARTS), "truth", rows.split.key
        )
        start = self._start(c, rows, "ceiling")
        own = (rows.split.key, c.seed, start and start.key, id(c.student), id(c.student_training))
        top: Step = self._once(
            lambda: self._fit(c, rows, "ceiling", c.student, truth, start), "ceiling", *own
        )
        labels = weak
        if method.calibrates:
            held = steps.truth(rows.loaded, rows.split, (Part.WEAK_VALIDATION,))
            labels = steps.calibrate(weak, held, rows.split)
        if method.prompt:
            student = self._prompted(c, rows, labels)
        else:
            student = self._student(c, rows, labels, self._hinted(c, rows, weak))

        def scored(predictions: Step) -> Step:
            return steps.score(predictions, rows.test, f"score of {predictions.title}")

        return CellSteps(
            weak,
            student,
            top,
            self._once(lambda: scored(weak), "score", weak.key),
            scored(student),
            self._once(lambda: scored(top), "score", top.key),
            rows.check,
        )

    def _rows(self, c: Cell) -> _Rows:
        loaded = self._once(lambda: steps.load(c.task), "load", id(c.task))

        def make() -> _Rows:
            split = steps.split(loaded, c.split)
            examples = self._once(lambda: steps.examples(loaded), "examples", loaded.key)
            twins = self._once(lambda: steps.twins(loaded), "twins", loaded.key)
            test = steps.truth(loaded, split, (Part.TEST,))
            return _Rows(loaded, split, examples, test, steps.check(loaded, split, twins))

        found: _Rows = self._once(make, "rows", loaded.key, id(c.split))
        return found

    def _supervisor(self, c: Cell, rows: _Rows, given: Supervisor) -> Step:
        if isinstance(given, DerivedLabels):
            return self._derived(c, rows, given)
        model = given.of if isinstance(given, FirstFeatures) else given
        start = self._start(c, rows, "supervisor", model if isinstance(model, ModelSpec) else None)
        fresh = c.method.own_rows

        def make() -> Step:
            if not isinstance(model, ModelSpec):
                _wants_known_raters(c, model)
                drawn = isinstance(model, RaterLabels) and model.k is not None
                spec = WeakLabelsSpec(supervisor=model, seed=c.seed if drawn else 0)
                return steps.weak_labels(rows.loaded, rows.split, spec)
            truth = steps.truth(rows.loaded, rows.split, SUPERVISOR_PARTS)
            first = given if isinstance(given, FirstFeatures) else None
            return self._fit(c, rows, "supervisor", model, truth, start, first=first)

        own = (
            rows.split.key,
            c.seed,
            start and start.key,
            fresh,
            id(given),
            id(c.supervisor_training),
        )
        found: Step = self._once(make, "supervisor", *own)
        return found

    def _derived(self, c: Cell, rows: _Rows, given: DerivedLabels) -> Step:
        """Labels by a rule, for all rows that a supervisor labels."""
        labels, rule = self._supervisor(c, rows, given.of), given.rule
        parts = (*LABELLED_PARTS, *((Part.SPARE,) if c.method.own_rows else ()))

        def make() -> Step:
            more = {}
            if "truth" in rule.reads:
                more["truth"] = steps.truth(rows.loaded, rows.split, parts)
            if "texts" in rule.reads:
                more["examples"] = rows.examples
            if "ceiling" in rule.reads:
                # The ceiling itself has learnt the transfer rows; its like of the other half has seen none of them.
                own = steps.truth(rows.loaded, rows.split, SUPERVISOR_PARTS)
                more["ceiling"] = self._fit(
                    c, rows, "supervisor", c.student, own, training=c.student_training
                )
            return steps.derive(labels, rows.split, DeriveSpec(rule=rule, parts=parts, seed=c.seed), **more)

        own = ("derived", rows.split.key, c.seed, labels.key, rule.key(), parts)
        model = (id(c.student), id(c.student_training)) if "ceiling" in rule.reads else ()
        found: Step = self._once(make, *own, *model)
        return found

    def _hinted(self, c: Cell, rows: _Rows, weak: Step) -> Step:
        """The texts that the student reads: with its weak labels written below, if the method wants that."""
        hint = c.method.hint
        if hint is None:
            return rows.examples
        if c.task.task_kind is TaskKind.PREFERENCE:
            raise ConfigError(f"method {c.method.name} names classes, and {c.task.name} holds comparisons")
        parts = (Part.TRANSFER, Part.VALIDATION, Part.TEST, *((Part.SPARE,) if c.method.own_rows else ()))
        found: Step = self._once(
            lambda: steps.hint(rows.examples, weak, rows.split, HintSpec(hint=hint, parts=parts)),
            *("hint", weak.key, hint.key(), parts),
        )
        return found

    def _student(self, c: Cell, rows: _Rows, labels: Step, texts: Step) -> Step:
        between: tuple[ModelSpec, ...] = self._once(
            lambda: c.method.intermediates(c.supervisor.name, c.student),
            *("between", id(c.method), c.supervisor.name, id(c.student)),
        )
        for i, model in enumerate(between):
            part = (i, len(between)) if c.method.own_rows else None
            start = self._start(c, rows, "student", model)
            labels = self._fit(c, rows, "student", model, labels, start, part, texts=texts, between=True)
        start = self._start(c, rows, "student", c.student)
        return self._fit(c, rows, "student", c.student, labels, start, texts=texts)

    def _start(self, c: Cell, rows: _Rows, arm: Arm, model: ModelSpec | None = None) -> Step | None:
        """The generative finetuning that ``arm`` starts from, if any."""
        start = c.method.start
        if not isinstance(start, Generative) or not c.method.starts(arm):
            return None
        if model is None:
            if arm == "supervisor" and not isinstance(c.supervisor, ModelSpec):
                raise ConfigError(
                    f"generative:supervisor=true: supervisor {c.supervisor.name} has no model to tune"
                )
            chosen = c.supervisor if arm == "supervisor" else c.student
            assert isinstance(chosen, ModelSpec)
            model = chosen
        self._wants_decoder(model, c.method)
        part = Part.WEAK_TRAIN if arm == "supervisor" else Part.TRANSFER
        spec = TuneSpec(model=model, start=start, seed=c.seed, parts=(part,))
        return steps.tune(rows.examples, rows.split, spec)

    def _prompted(self, c: Cell, rows: _Rows, labels: Step) -> Step:
        prompt = c.method.prompt
        assert prompt is not None
        self._wants_decoder(c.student, c.method)
        if c.task.task_kind is TaskKind.PREFERENCE:
            raise ConfigError(f"method {c.method.name} asks for classes, and {c.task.name} holds comparisons")
        prompt = prompt.model_copy(update={"instruction": prompt.instruction or c.task.instruction})
        shown = None
        if prompt.shots:
            truth = prompt.labels == "truth"
            shown = steps.truth(rows.loaded, rows.split, (Part.TRANSFER,)) if truth else labels
        seed, split = c.seed, rows.split
        if not prompt.shots and isinstance(c.split, Split):
            # Test rows are the same for every seed, and nothing else of the split is read: one answer serves all.
            seed, split = 0, steps.split(rows.loaded, c.split.model_copy(update={"seed": 0}))
        spec = PromptSpec(
            model=c.student,
            prompt=prompt,
            seed=seed,
            shot_part=Part.TRANSFER,
            predict=(Part.TEST,),
        )
        return steps.prompt(rows.examples, split, shown, spec)

    def _fit(
        self,
        c: Cell,
        rows: _Rows,
        arm: Arm,
        model: ModelSpec,
        labels: Step,
        start: Step | None = None,
        part: tuple[int, int] | None = None,
        *,
        between: bool = False,
        texts: Step | None = None,
        first: FirstFeatures | None = None,
        training: Probe | Finetune | None = None,
    ) -> Step:
        """One training; ``between`` marks an intermediate student, which labels for the next.

        ``texts`` are what the model reads if not the plain ones, ``first`` which features a probe is given, and
        ``training`` how it is trained if not as its side is.
        """
        own = arm == "supervisor"
        method = c.method if arm == "student" else self._naive
        texts = texts or rows.examples
        training = training or (c.supervisor_training if own else c.student_training)
        if arm == "student":
            training = method.prepare(training)
            if between and isinstance(training, Finetune):
                training = training.model_copy(update={"save_weights": False})
        oracle = arm == "student" and method.stop == "oracle"
        spare = (Part.SPARE,) if own and c.method.own_rows else ()
        if between:
            predict = (Part.TRANSFER, Part.VALIDATION) + ((Part.SPARE,) if c.method.own_rows else ())
        else:
            predict = (*LABELLED_PARTS, *spare) if own else (Part.VALIDATION, Part.TEST)
        fields: dict[str, Any] = {
            "method": method,
            "seed": c.seed,
            "training": training,
            "train_part": Part.WEAK_TRAIN if own else Part.SPARE if part else Part.TRANSFER,
            "train_slice": part,
            "validation_part": Part.WEAK_VALIDATION if own else Part.TEST if oracle else Part.VALIDATION,
            "predict": predict,
        }
        who = model if first is None else first
        title = f"{'intermediate' if between else arm} {who.name}, {method.name}, seed {c.seed}"
        more = {steps.ORACLE: rows.test} if oracle else {}
        view = None
        if arm == "student" and method.view is not None:
            view = steps.perturb(texts, method.view)
        if isinstance(training, Probe):
            # Parts are validated already; validating each of 10,000 fits again costs seconds.
            spec = ProbeFit.model_construct(kind="probe-fit", **fields)
            parts = None
            if start is not None:
                named = (fields["train_part"], fields["validation_part"], *predict)
                parts = tuple(part for part in Part if part in named)
            if view is not None:
                more |= {"view": self._features(view, model, training.features, start, parts)}
            features = self._features(texts, model, training.features, start, parts)
            if first is not None:
                features = steps.narrow(features, NarrowSpec(k=first.k, share=first.share))
            return steps.probe(features, rows.split, labels, spec, title, **more)
        if first is not None:
            raise ConfigError(
                f"supervisor {first.name} is a probe; give it supervisor_training: {{kind: probe}}"
            )
        if arm == "student" and isinstance(method.start, ProbeFirst):
            more |= {"head": self._head(c, rows, texts, model, labels, training, fields)}
        more |= ({} if view is None else {"view": view}) | ({} if start is None else {"start": start})
        full = FinetuneFit.model_construct(kind="finetune-fit", model=model, **fields)
        return steps.finetune(texts, rows.split, labels, full, title, **more)

    def _features(
        self,
        examples: Step,
        model: ModelSpec,
        spec: FeatureSpec,
        start: Step | None = None,
        parts: tuple[Part, ...] | None = None,
    ) -> Step:
        found: Step = self._once(
            lambda: steps.features(examples, model, spec, start, parts),
            "features",
            examples.key,
            start and start.key,
            parts,
            # A spec of a method (an intermediate, a changed training) may die, so its address is no name.
            model.canonical_json,
            spec.canonical_json,
        )
        return found

    def _head(
        self,
        c: Cell,
        rows: _Rows,
        texts: Step,
        model: ModelSpec,
        labels: Step,
        training: Finetune,
        fields: dict[str, Any],
    ) -> Step:
        """The probe whose head finetuning starts from."""
        first = c.method.start
        assert isinstance(first, ProbeFirst)
        self._wants_decoder(model, c.method)
        features = FeatureSpec(max_tokens=training.max_tokens)
        probe = Probe(epochs=first.epochs, learning_rate=first.learning_rate, features=features)
        spec = ProbeFit.model_construct(kind="probe-fit", **fields | {"training": probe})
        made = self._features(texts, model, features)
        more = {steps.ORACLE: rows.test} if c.method.stop == "oracle" else {}
        return steps.probe(made, rows.split, labels, spec, f"head of {model.name}, seed {c.seed}", **more)

    def _wants_decoder(self, model: ModelSpec, method: Method) -> None:
        # A card reads files, and a plan asks for it once per cell.
        family = self._once(lambda: card(model).family, "family", model.weights, model.source)
        if family == "encoder":
            raise ConfigError(
                f"method {method.name} needs a decoder, {model.name} is an encoder; use one such as smollm2-135m"
            )


def _wants_known_raters(c: Cell, given: Supervisor) -> None:
    if not isinstance(given, RaterLabels) or given.path is not None:
        return
    if given.aggregate == "dawid-skene" and not c.task.raters_known:
        raise ConfigError(
            f"supervisor {given.name}: dawid-skene weighs persons, and nobody knows which ratings of {c.task.name} are "
            "of one person; use raters:3 or raters:3:majority"
        )


def closure(targets: list[Step]) -> list[Step]:
    """All steps that ``targets`` need, each once, dependencies first."""
    seen: dict[str, Step] = {}
    stack = [(step, False) for step in reversed(targets)]
    while stack:
        step, ready = stack.pop()
        if step.key in seen:
            continue
        if ready:
            seen[step.key] = step
        else:
            stack.append((step, True))
            stack.extend((d, False) for d in step.inputs.values() if d.key not in seen)
    return list(seen.values())
