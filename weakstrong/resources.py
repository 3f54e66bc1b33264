"""What a step will need, guessed before it runs: cores, GPUs, memory, FLOPs, seconds. No torch.

Estimates for schedulers and for `w2s plan`. Memory is meant as an upper bound, on a CPU within a factor of about two;
FLOPs count matrix products. The constants below were measured on the embedded models; what `weakstrong.facts` does not
find is assumed there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from weakstrong.facts import ASSUMED_ROWS, TRAININGS, Facts, Lengths, Size
from weakstrong.graph import closure
from weakstrong.machine import Machine
from weakstrong.models.base import ModelSpec
from weakstrong.steps import FeaturesOf, FinetuneFit, HintSpec, ProbeFit, PromptSpec, TuneSpec
from weakstrong.steps_easy import JudgeSpec
from weakstrong.store import Step, Store
from weakstrong.training.spec import Finetune, Runtime

__all__ = ["Estimator", "Machine", "Need", "critical_path"]

MIB = 2**20
TABLE_MEMORY = 300 * MIB
"""Interpreter, Arrow and numpy, for a step without a model."""
ROW_MEMORY = 4096
"""Bytes of a row, its text and its tokens in memory."""
MODEL_MEMORY = 560 * MIB
"""Interpreter, torch and transformers."""
SLACK_MEMORY = 300 * MIB
"""What batches of changing size leave unused between them."""
TWINS_ROW_MEMORY = 4 * ROW_MEMORY
"""Of a row while near-duplicates are looked for."""
GPU_MEMORY = 3072 * MIB
"""Of the host, for a step on a GPU: CUDA's libraries and context."""
GPU_FLOPS_PER_SECOND = 4e13
"""Of one GPU; only a guess, until finished steps in the store tell."""
HEAD_SHARE = 0.05
"""Share of the speed of model steps at which heads train: they wait for memory."""
START_SECONDS = 3.0
"""To load a model and its tokenizer."""
TABLE_SECONDS = {"load": 5.0, "twins": 5.0, "check": 2.0, "score": 0.02}
"""Of steps without a model on 10,000 rows, until finished ones tell; the others 0.2."""
WINDOW = 16
"""Batches that are sorted by length together (`weakstrong.training.batching`)."""
TOKENS_PER_WORD = 1.5
"""Of English words with their punctuation, a little high."""
JUDGE_TOKENS = 80
"""Of the question that stands before two rows."""
CHUNK_TOKENS = 1024
"""Tokens whose logits over the vocabulary generative finetuning holds (`weakstrong.training.generative`)."""


@dataclass(frozen=True)
class Need:
    """What one piece of work asks for: steps that are built together in one call.

    Attributes:
        memory: bytes; peak resident memory of its worker, interpreter and libraries included, and of all processes
            where several share the step. Of a step on a GPU this is the host's.
        flops: floating-point operations of its matrix products.
        seconds: at the machine's speed.
        processes: that share the step, with an equal part of cores, GPUs and memory each.
    """

    cpus: int
    gpus: int
    memory: int
    flops: float
    seconds: float
    processes: int = 1


class Estimator:
    """Guesses the needs of steps, from what their specs say and what the store already knows.

    Rows of a part come from the stored split, else from the spec of the split and the rows of the task; tokens from
    the stored texts, cut at the step's ``max_tokens``; sizes from the models' cards. A finished ``finetune`` or
    ``tune`` in the store sets the speed of its kind (the median of up to 50), and finished heads and steps without
    models their time. Else the speed is the machine's, or `GPU_FLOPS_PER_SECOND`.

    Args:
        store: None if there is none yet.
        machine: default `Machine.here`.
    """

    def __init__(self, store: Store | None, runtime: Runtime, machine: Machine | None = None) -> None:
        self.facts, self.runtime = Facts(store), runtime
        self.machine = machine or Machine.here()

    def need(self, steps: Sequence[Step]) -> Need:
        """Of ``steps`` built together in one call: all of one kind, and where there are several, of one group."""
        spec = steps[0].spec
        if isinstance(spec, FeaturesOf):
            return self._features(steps)
        if isinstance(spec, ProbeFit):
            return self._heads(steps)
        if isinstance(spec, (FinetuneFit, TuneSpec, PromptSpec, JudgeSpec)):
            return _one_by_one([self._model(step) for step in steps])
        return self._table(steps)

    # --- kinds of steps

    def _features(self, steps: Sequence[Step]) -> Need:
        """One forward pass through the deepest rung, over all texts of the task or those of some parts."""
        facts, first = self.facts, steps[0]
        specs = [step.spec for step in steps if isinstance(step.spec, FeaturesOf)]
        sizes = [facts.size(spec.model) for spec in specs]
        deepest, spec = max(sizes, key=lambda size: size.layers), specs[0]
        rows = float(facts.total(first))
        told = first.inputs["examples"].spec
        if spec.parts is not None:
            rows = sum(facts.rows(first.inputs["split"], part) for part in spec.parts)
        elif isinstance(told, HintSpec):  # a line is written for the rows of some parts only
            split = first.inputs["examples"].inputs["split"]
            rows = sum(facts.rows(split, part) for part in told.parts)
        texts = facts.tokens(first.inputs["examples"], spec.features.max_tokens)
        # The float32 file is read first, whatever the type of the forward pass.
        weights = deepest.parameters * (4 + (2 if spec.features.dtype == "bfloat16" else 4))
        held = rows * ROW_MEMORY + 2 * sum(rows * size.width * 4 for size in sizes)
        memory = weights + held + self._forward_memory(deepest, texts.bound)
        flops = self._forward_flops(deepest, rows, texts)
        return self._on_device("features", memory, flops, host=weights + held)

    def _model(self, step: Step) -> Need:
        spec = step.spec
        if isinstance(spec, FinetuneFit):
            return self._finetune(step, spec)
        if isinstance(spec, TuneSpec):
            return self._tune(step, spec)
        if isinstance(spec, JudgeSpec):
            return self._judge(step, spec)
        assert isinstance(spec, PromptSpec)
        return self._prompt(step, spec)

    def _finetune(self, step: Step, spec: FinetuneFit) -> Need:
        """Training, looks at the validation rows, predictions.

        A training token costs three forward passes (LoRA: two, since frozen weights want no gradient), one more where
        activations are computed again, and one more where the loss of a cut batch needs all its logits first.
        """
        training, method, runtime, facts = spec.training, spec.method, self.runtime, self.facts
        assert isinstance(training, Finetune)
        size = facts.size(spec.model)
        texts = facts.tokens(step.inputs["examples"], training.max_tokens)
        split, views = step.inputs["split"], 1 if method.view is None else 2
        rows = facts.rows(split, spec.train_part) / (spec.train_slice[1] if spec.train_slice else 1)
        passes = (3 if training.lora is None else 2) + runtime.gradient_checkpointing
        passes += not method.rowwise and training.batch_rows * texts.mean > runtime.micro_batch_tokens
        tokens = self._batched(texts, rows, training.batch_rows, sort=training.group_by_length)
        looks = self._forward_flops(size, facts.rows(split, spec.validation_part), texts)
        predicted = self._forward_flops(size, sum(facts.rows(split, part) for part in spec.predict), texts)
        seen = training.epochs * rows * passes * views * tokens
        evaluations = training.epochs * training.evaluations
        said = predicted * (evaluations if step.name.endswith("trajectory") else 1)
        flops = seen * size.forward(tokens) + evaluations * looks + said
        moving = size.parameters
        if training.lora is not None:
            moving = 12 * size.layers * 2 * size.width * training.lora.rank
        memory = self._training_memory(size, moving, training.batch_rows, texts.bound, views)
        memory += 4 * moving * (training.ema > 0)
        held = facts.total(step) * ROW_MEMORY
        return self._on_device("finetune", memory + held, flops, host=8 * size.parameters + held)

    def _tune(self, step: Step, spec: TuneSpec) -> Need:
        """As finetuning, with the product by the unembedding, whose logits are held for some tokens at once."""
        facts, start = self.facts, spec.start
        size = facts.size(spec.model)
        texts = facts.tokens(step.inputs["examples"], start.max_tokens)
        rows = sum(facts.rows(step.inputs["split"], part) for part in spec.parts)
        rows = min(rows, start.rows) if start.rows is not None else rows
        passes = 3 + self.runtime.gradient_checkpointing
        tokens = self._batched(texts, rows, start.batch_rows, sort=True)
        body, head = tokens * size.forward(tokens), texts.mean * 2 * size.embedding
        flops = start.epochs * rows * (passes * body + 3 * head)
        # In bf16 and float32, their softmax and its gradient.
        logits = CHUNK_TOKENS * size.embedding / size.width * 16
        memory = self._training_memory(size, size.parameters, start.batch_rows, texts.bound, 1)
        held = facts.total(step) * ROW_MEMORY
        return self._on_device("tune", memory + logits + held, flops, host=8 * size.parameters + held)

    def _prompt(self, step: Step, spec: PromptSpec) -> Need:
        """One forward pass over the texts, and over the examples shown before them."""
        texts = self.facts.tokens(step.inputs["examples"], spec.prompt.max_tokens)
        rows = sum(self.facts.rows(step.inputs["split"], part) for part in spec.predict)
        return self._asked("prompt", step, spec.model, texts, rows, (1 + spec.prompt.shots) * texts.mean)

    def _judge(self, step: Step, spec: JudgeSpec) -> Need:
        """As prompting, with two rows in each text, and each pair asked in both orders."""
        one = self.facts.tokens(step.inputs["examples"], math.ceil(spec.words * TOKENS_PER_WORD))
        texts = Lengths(2 * one.mean, 2 * one.longest, 2 * one.bound)
        rows = sum(self.facts.rows(step.inputs["split"], part) for part in spec.parts)
        return self._asked("judge", step, spec.model, texts, rows * spec.comparisons, JUDGE_TOKENS)

    def _asked(
        self, kind: str, step: Step, model: ModelSpec, texts: Lengths, rows: float, before: float
    ) -> Need:
        """One forward pass over ``rows`` texts with ``before`` tokens in front of each, kept from one pass of their own."""
        facts = self.facts
        size = facts.size(model)
        flops = (rows * texts.mean + before) * size.forward(texts.mean + before)
        # Keys and values of what stands before are copied for every text of a batch.
        batch = self.runtime.forward_tokens / texts.mean
        copies = 4 * batch * before * size.layers * size.width * 2
        host = size.parameters * 6 + facts.total(step) * ROW_MEMORY
        memory = host + copies + self._forward_memory(size, texts.bound + before)
        return self._on_device(kind, memory, flops, host)

    def _heads(self, steps: Sequence[Step]) -> Need:
        """Heads that train together: every features matrix once, and copies of rows up to the runtime's ``head_bytes``."""
        facts = self.facts
        flops = each = 0.0
        matrices: dict[str, float] = {}
        for step in steps:
            spec, split = step.spec, step.inputs["split"]
            assert isinstance(spec, ProbeFit)
            features = [step.inputs[role] for role in ("features", "view") if role in step.inputs]
            width = facts.width(features[0])
            for one in features:
                if one.key not in matrices:
                    matrices[one.key] = facts.total(one) * width * 4
            rows = facts.rows(split, spec.train_part) / (spec.train_slice[1] if spec.train_slice else 1)
            held = facts.rows(split, spec.validation_part)
            products = spec.training.epochs * (2 * len(features) * rows + held)
            predicted = sum(facts.rows(split, part) for part in spec.predict)
            products += predicted * (spec.training.epochs if step.name.endswith("trajectory") else 1)
            flops += 2 * width * facts.classes(step) * products
            each = max(each, (rows * len(features) + held) * width * 4)
        chunk = max(min(self.runtime.head_bytes, each * len(steps)), each)
        host = sum(matrices.values()) + facts.total(steps[0]) * ROW_MEMORY
        measured = facts.measured("probe")
        seconds = None if measured is None else measured * len(steps)
        return self._on_device("probe", host + 3 * chunk, flops, host + chunk, seconds)

    def _table(self, steps: Sequence[Step]) -> Need:
        """A step without a model: its time is that of finished ones, or a guess for the task's rows."""
        kind, rows = steps[0].name, self.facts.total(steps[0])
        each = self.facts.measured(kind) or TABLE_SECONDS.get(kind, 0.2) * max(1.0, rows / ASSUMED_ROWS)
        row: float = TWINS_ROW_MEMORY if kind == "twins" else ROW_MEMORY
        if kind == "narrow":  # the whole matrix, and the part of it that is written
            row += 8 * self.facts.width(steps[0].inputs["features"])
        return Need(1, 0, int(TABLE_MEMORY + rows * row), 0.0, each * len(steps))

    # --- of model steps: device, time, memory

    def _on_device(
        self, kind: str, memory: float, flops: float, host: float, seconds: float | None = None
    ) -> Need:
        """The need of a model step that holds ``memory`` bytes on a CPU, and ``host`` beside a GPU."""
        runtime, machine = self.runtime, self.machine
        on_gpu = runtime.device.startswith("cuda")
        team = runtime.processes if kind in TRAININGS else 1
        if seconds is None:
            seconds = START_SECONDS + flops / self._speed(kind, team)
        cpus, memory = machine.cpus, MODEL_MEMORY + memory
        if on_gpu:
            memory = MODEL_MEMORY + GPU_MEMORY + host
            # The other GPUs' workers want cores too.
            cpus = max(1, machine.cpus // max(1, machine.gpus)) * team
        if runtime.threads is not None:
            cpus = runtime.threads * team
        return Need(min(cpus, machine.cpus), team if on_gpu else 0, int(memory * team), flops, seconds, team)

    def _speed(self, kind: str, team: int) -> float:
        """FLOPs per second of a kind of model step; processes that share a CPU are no faster than one."""
        measured = self.facts.measured(kind) if kind in TRAININGS else None
        if measured is not None:
            return measured
        on_gpu = self.runtime.device.startswith("cuda")
        speed = team * GPU_FLOPS_PER_SECOND if on_gpu else self.machine.flops_per_second
        return speed * HEAD_SHARE if kind == "probe" else speed

    def speed_words(self) -> str:
        """The speed of model steps that no finished step tells, for people."""
        if self.runtime.device.startswith("cuda"):
            return f"{GPU_FLOPS_PER_SECOND / 1e12:.0f} TFLOP/s for each GPU, a guess"
        return f"{self.machine.flops_per_second / 1e9:,.0f} GFLOP/s, measured on this machine just now"

    def _forward_flops(self, size: Size, rows: float, texts: Lengths) -> float:
        """Of one pass over rows in batches by length."""
        tokens = texts.padded(rows * texts.mean / self.runtime.forward_tokens)
        return rows * tokens * size.forward(tokens)

    def _batched(self, texts: Lengths, rows: float, batch_rows: int, *, sort: bool) -> float:
        """Tokens of a row in training with padding: windows of `WINDOW` batches are sorted by length, or none is."""
        cuts = batch_rows * texts.mean / self.runtime.micro_batch_tokens
        return texts.padded(max(1.0, cuts) * (min(WINDOW, rows / batch_rows) if sort else 1.0))

    def _forward_memory(self, size: Size, longest: float) -> float:
        """One layer's tensors for a batch, in float32: hidden states, those of the wider products, and copies."""
        return SLACK_MEMORY + max(self.runtime.forward_tokens, longest) * size.width * 4 * 24

    def _training_memory(
        self, size: Size, moving: float, batch_rows: int, longest: float, views: int
    ) -> float:
        """Weights in float32, gradient and Adam's two moments of what is ``moving``, activations.

        Autocast keeps the weights in bf16 too. A micro-batch holds per layer, token and unit of width 60 bytes, and
        0.22 for each token that attention looks at, as measured on SmolLM2 with attention in plain products; twice,
        because freed memory of one shape does not fit the next.
        """
        weights = size.parameters * 4 + size.body * 2 + moving * 12
        tokens = views * min(max(self.runtime.micro_batch_tokens, longest), batch_rows * longest)
        layer = size.width * (60 + 0.22 * longest)
        layers = size.layers * layer
        if self.runtime.gradient_checkpointing:
            layers = layer + size.layers * size.width * 4
        return SLACK_MEMORY + weights + 2 * tokens * layers


def _one_by_one(needs: Sequence[Need]) -> Need:
    """Models one after another in one process."""
    return Need(
        max(n.cpus for n in needs),
        max(n.gpus for n in needs),
        max(n.memory for n in needs),
        sum(n.flops for n in needs),
        sum(n.seconds for n in needs),
        max(n.processes for n in needs),
    )


def critical_path(
    targets: Sequence[Step], seconds: Callable[[Step], float], done: Container[str]
) -> tuple[float, list[Step]]:
    """The chain of steps, each waiting for the one before, that takes longest: no number of machines is quicker.

    Args:
        seconds: of one step.
        done: keys of steps that are stored; they take no time, and what is behind them is not looked at.

    Returns:
        its seconds, and its steps in the order they run.
    """
    until: dict[str, float] = {}
    before: dict[str, Step | None] = {}
    for step in closure(list(targets)):
        if step.key in done:
            until[step.key] = 0.0
            continue
        last = max(step.inputs.values(), key=lambda s: until[s.key], default=None)
        until[step.key] = seconds(step) + (until[last.key] if last is not None else 0.0)
        before[step.key] = last
    end = max(targets, key=lambda s: until[s.key], default=None)
    total = until[end.key] if end is not None else 0.0
    path: list[Step] = []
    while end is not None and end.key in before:
        path.append(end)
        end = before[end.key]
    return total, path[::-1]
