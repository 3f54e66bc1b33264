"""Second views of a text, chains of students and fresh rows, redone by hand from what is stored.

Legend: N rows, M rows of a feature matrix, D width, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from weakstrong import steps
from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.builders.fits import labelled
from weakstrong.builders.views import perturbed
from weakstrong.data import Part, positions, read_probabilities
from weakstrong.errors import DataError
from weakstrong.experiment import Experiment
from weakstrong.graph import CellSteps, Graph
from weakstrong.methods import parse_method
from weakstrong.models._load import load_classifier
from weakstrong.models.base import parse_model
from weakstrong.schedule import RunReport, run_steps
from weakstrong.store import Step, Store
from weakstrong.tasks.base import parse_task
from weakstrong.training.features import tokenize
from weakstrong.training.fit import Rows, _gradient, make_accelerator
from weakstrong.training.probe import HeadTask, predict, train_heads
from weakstrong.training.spec import Finetune, Perturb, Probe, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
PROBE = {"kind": "probe", "epochs": 4, "learning_rate": 0.02, "features": {"dtype": "float32"}}
FINETUNE = {"kind": "finetune", "epochs": 1, "batch_rows": 8, "learning_rate": 1e-3, "precision": "fp32"}
SPEC = Probe(epochs=4, batch_rows=16, learning_rate=0.05)

word = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=6)
words = st.lists(word, min_size=1, max_size=40)
shares = st.floats(0, 0.999)


@settings(max_examples=200, deadline=None)
@given(words, st.text(min_size=1, max_size=8), shares, shares)
def test_a_view_holds_some_of_the_words(text: list[str], name: str, drop: float, swap: float) -> None:
    """An empty text, a word that was not there or twice, another view on the second look, or a change at zero."""
    spec = Perturb(drop=drop, swap=swap)
    out = perturbed(" ".join(text), name, spec)
    assert out.strip()
    assert Counter(out.split()) <= Counter(text)
    assert out == perturbed(" ".join(text), name, spec)
    assert perturbed("\t".join(text) + "\n", name, Perturb(drop=0, swap=0)) == " ".join(text)


def test_shares_hold_over_many_rows() -> None:
    """A share drawn once per row, or a generator that starts each row alike, so that word 3 is lost in all of them."""
    text = " ".join(f"w{i}" for i in range(20))
    views = [perturbed(text, f"row {i}", Perturb(drop=0.3, swap=0.0)).split() for i in range(1000)]
    kept = Counter(word for view in views for word in view)
    assert all(0.62 < count / 1000 < 0.78 for count in kept.values())
    assert len(kept) == 20
    # Only neighbours change places.
    moved = [perturbed(text, f"row {i}", Perturb(drop=0.0, swap=0.3)).split() for i in range(200)]
    steps_off = [abs(int(w[1:]) - place) for view in moved for place, w in enumerate(view)]
    assert max(steps_off) == 1
    assert 0.3 < np.mean(steps_off) < 0.6


class Bench:
    """Cells of one small experiment on a store of their own."""

    def __init__(self, folder: Path, tiny_model: Tiny, rows: MakeRows) -> None:
        texts, labels = rows(300)
        frame = pl.DataFrame({"key": [f"ä{i}" for i in range(300)], "text": texts, "label": labels})
        frame.write_ndjson(folder / "rows.jsonl")
        frame.head(263).write_ndjson(folder / "few.jsonl")
        self.task, self.few = (
            {"kind": "file", "path": str(folder / name), "id": "key"} for name in ("rows.jsonl", "few.jsonl")
        )
        self.model = str(tiny_model("llama", layers=3))
        self.store = Store(folder / "store")

    def run(self, *methods: Any, **changes: Any) -> tuple[list[CellSteps], RunReport]:
        values = {
            "tasks": [self.task], "supervisors": f"{self.model}::1", "students": self.model,
            "methods": list(methods), "seeds": 1, "supervisor_training": PROBE, "student_training": PROBE,
            "split": {"train_rows": 75, "validation_rows": 24, "test_rows": 64},
        }  # fmt: skip
        graph = Graph()
        made = [graph.cell(cell) for cell in Experiment.parse(values | changes).cells()]
        return made, run_steps([s for m in made for s in m.scores()], self.store, Runtime())

    def stored(self, step: Step, wanted: list[str]) -> Any:
        ids, probs_NC = read_probabilities(self.store.open(step) / PROBABILITIES)
        return probs_NC[positions(wanted, ids, "predictions")]

    def ids(self, step: Step, part: Part) -> list[str]:
        return ids_of(self.store.open(step.inputs["split"]), [part])

    def by_hand(self, fit: Step, labels: Step, method: str, train: list[str]) -> None:
        """``fit`` must hold the head, and predict as the head, that ``labels`` give on rows ``train``."""
        folder = self.store.open(fit.inputs["features"])
        ids = pl.read_parquet(folder / "ids.parquet")["id"].to_list()
        features_MD = load_file(folder / "features.safetensors")["features_ND"]
        held, spec = self.ids(fit, Part.VALIDATION), Probe.model_validate(PROBE)
        numbers = [np.array([ids.index(i) for i in part]) for part in (train, held)]
        task = HeadTask(features_MD, *numbers, self.stored(labels, train), self.stored(labels, held), 0)
        train_heads([task], spec, parse_method(method), Runtime())
        assert task.weight_DC is not None
        assert np.array_equal(
            task.weight_DC, load_file(self.store.open(fit) / "head.safetensors")["weight_DC"]
        )
        probs_NC = predict(features_MD[numbers[1]], task.weight_DC)
        assert np.allclose(
            probs_NC, self.stored(fit, held), atol=1e-6
        )  # another number of rows rounds otherwise


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Tiny, rows: MakeRows) -> Bench:
    return Bench(tmp_path, tiny_model, rows)


def test_the_perturbed_step_keeps_everything_but_the_words(bench: Bench) -> None:
    """Rows in another order than their ids, class names lost, or a view that depends on which rows are beside it."""
    tables = []
    for task, spec in (
        (bench.task, Perturb()),
        (bench.few, Perturb()),
        (bench.task, Perturb(drop=0, swap=0)),
    ):
        plain = steps.examples(steps.load(parse_task(task)))
        view = steps.perturb(plain, spec)
        assert not run_steps([view], bench.store, Runtime()).failed
        before, after = (pl.read_parquet(bench.store.open(s) / "examples.parquet") for s in (plain, view))
        assert before.columns == after.columns
        assert before.drop("text").equals(after.drop("text"))
        classes = [(bench.store.open(s) / "classes.json").read_text() for s in (plain, view)]
        assert classes[0] == classes[1]
        tables.append((before["text"].to_list(), dict(after.select("id", "text").iter_rows())))
    assert tables[0][1].items() >= tables[1][1].items()
    assert tables[0][0] != list(tables[0][1].values())
    assert list(tables[2][1].values()) == tables[2][0]


@pytest.mark.parametrize("method", ["naive", "confidence"])
def test_a_chain_redone_by_hand(bench: Bench, method: str) -> None:
    """Each link must learn from the one before: by its own training on stored labels, to the bit."""
    (made,), _ = bench.run(f"{method}+bootstrapping:through={bench.model}::2")
    between = made.student_fit.inputs["labels"]
    transfer = bench.ids(between, Part.TRANSFER)
    bench.by_hand(between, made.supervisor_fit, method, transfer)
    bench.by_hand(made.student_fit, between, method, transfer)


def test_fresh_links_train_on_rows_of_their_own(bench: Bench) -> None:
    """Slices that overlap or leave rows out, or a last student that trains on spare rows too."""
    (made,), report = bench.run("bootstrapping:rounds=2,fresh=true")
    assert not report.failed
    second = made.student_fit.inputs["labels"]
    first = second.inputs["labels"]
    assert first.inputs["labels"] == made.supervisor_fit
    spare = bench.ids(first, Part.SPARE)
    assert len(spare) == 300 - 2 * 75 - 2 * 24 - 64
    bench.by_hand(first, made.supervisor_fit, "naive", spare[0::2])
    bench.by_hand(second, first, "naive", spare[1::2])
    bench.by_hand(made.student_fit, second, "naive", bench.ids(first, Part.TRANSFER))


@pytest.mark.parametrize("training", [PROBE, FINETUNE], ids=["probe", "finetune"])
def test_too_few_spare_rows_say_what_to_do(bench: Bench, training: dict[str, Any]) -> None:
    """An empty part must not end in a division by zero, and naive beside it must still run."""
    made, report = bench.run("bootstrapping:fresh=true,rounds=1", "naive", tasks=[bench.few],
                             student_training=training)  # fmt: skip
    (words_said,) = report.failed.values()
    assert "1 rows of the part spare are left to train on; lower --train-rows" in words_said
    assert bench.store.has(made[1].student)
    link = made[0].student_fit.inputs["labels"]
    with bench.store.job(link) as job, pytest.raises(DataError, match="intermediate"):
        labelled(job, link.spec)  # type: ignore[arg-type]


def test_one_task_without_spare_rows_does_not_stop_the_others(bench: Bench) -> None:
    """Heads train together across tasks; hours of the others are lost with one task that is too small."""
    tasks = [bench.task, bench.few]
    bench.run(
        "bootstrapping:rounds=1", tasks=tasks
    )  # features are there, so fits of both tasks are ready at once
    made, report = bench.run("bootstrapping:fresh=true,rounds=1", tasks=tasks)
    assert [made[i].student_fit.inputs["labels"].key in report.failed for i in range(2)] == [False, True]
    assert bench.store.has(made[0].student)


def test_finetuning_after_a_probe_starts_where_the_probe_is(bench: Bench) -> None:
    """Other features than the model's own last state, a norm left out, a scale not undone, or a transposed head."""
    still = FINETUNE | {"learning_rate": 1e-12}
    (made, naive), report = bench.run("lp-ft:epochs=5", "naive", student_training=still)
    assert not report.failed
    head, test = made.student_fit.inputs["head"], bench.ids(made.student_fit, Part.TEST)
    assert head.inputs["labels"] == made.supervisor_fit
    assert made.ceiling_fit.key == naive.ceiling_fit.key
    probe_NC, fit_NC, naive_NC = (bench.stored(s, test) for s in (head, made.student_fit, naive.student_fit))
    assert np.abs(probe_NC - fit_NC).max() < 0.02  # the probe's features went through bfloat16
    assert np.abs(naive_NC - fit_NC).max() > 0.05


def head_task(seed: int) -> HeadTask:
    generator = np.random.default_rng([seed, 3])
    features_MD = generator.standard_normal((110, 6)).astype(np.float32) * np.float32(3)
    view_MD = features_MD + generator.standard_normal((110, 6)).astype(np.float32)
    probs_NC = generator.dirichlet([1, 1, 1], 110).astype(np.float32)
    order = generator.permutation(110)
    train, held = order[:80], order[80:]
    return HeadTask(features_MD, train, held, probs_NC[train], probs_NC[held], seed, "", view_MD)


@pytest.mark.parametrize("method", ["consistency:weight=0.8", "consistency+confidence"])
def test_a_head_with_two_views_equals_plain_torch(method: str) -> None:
    """The view's rows misplaced or scaled by its own size, its slope dropped or given to another head."""
    parsed, tasks = parse_method(f"{method}+early-stop:on=last"), [head_task(seed) for seed in range(3)]
    train_heads(tasks, SPEC, parsed, Runtime())
    for task in tasks:
        assert task.view_MD is not None
        inputs, view = (torch.from_numpy(x[task.train_N]) for x in (task.features_MD, task.view_MD))
        rms, targets = inputs.pow(2).mean(0).sqrt(), torch.from_numpy(task.targets_NC)
        weight = torch.zeros(6, 3, requires_grad=True)
        optimizer, generator = torch.optim.Adam([weight], lr=0.05), np.random.default_rng([task.seed, 7])
        order = np.concatenate([generator.permutation(80) for _ in range(4)])
        for step in range(20):
            pick = order[16 * step : 16 * (step + 1)]
            one, two = ((x[pick] / rms) @ weight for x in (inputs, view))
            loss = parsed.objective(one, targets[pick], progress=step / 19, prior_C=targets.mean(0))
            optimizer.zero_grad()
            (loss + parsed.disagreement(one, two)).mean().backward()
            optimizer.step()
        assert task.weight_DC is not None
        assert np.allclose(task.weight_DC, (weight.detach() / rms[:, None]).numpy(), atol=1e-4)


def test_heads_with_other_views_of_the_same_rows_stay_apart() -> None:
    """ "each as if alone" must hold for views as well."""
    one, two, alone = head_task(0), head_task(0), head_task(0)
    for task in (two, alone):
        task.features_MD, task.view_MD = one.features_MD, -one.features_MD
    method = parse_method("consistency+early-stop:on=last")
    train_heads([one, two], SPEC, method, Runtime())
    train_heads([alone], SPEC, method, Runtime())
    assert np.allclose(two.weight_DC, alone.weight_DC, atol=1e-5)


def test_without_weight_a_view_does_not_disturb_dropout() -> None:
    """The limit weight = 0 must be naive under dropout too, or an ablation compares two draws of noise."""
    spec, viewed, plain = SPEC.model_copy(update={"dropout": 0.5}), head_task(1), head_task(1)
    plain.view_MD = None
    train_heads([viewed], spec, parse_method("consistency:weight=0"), Runtime())
    train_heads([plain], spec, parse_method("naive"), Runtime())
    assert np.array_equal(viewed.weight_DC, plain.weight_DC)


@pytest.mark.parametrize("method", ["consistency", "consistency+confidence", "consistency+product"])
def test_the_gradient_with_two_views_is_exact(tiny_model: Tiny, rows: MakeRows, method: str) -> None:
    """Logits of a micro-batch put at the wrong rows, or one view's gradient lost, at any memory size."""
    model, tokenizer = load_classifier(
        parse_model(str(tiny_model("llama", layers=2))), ("a", "b"), "auto", 0.0, 0
    )
    model.set_attn_implementation("eager")
    texts, labels = rows(24)
    probs_NC = torch.from_numpy(np.eye(2, dtype=np.float32)[labels] * 0.6 + 0.2)
    views = [perturbed(text, text, Perturb(drop=0.4)) for text in texts]
    data = Rows(tokenize(tokenizer, texts, 64), probs_NC, tokenize(tokenizer, views, 64))
    assert data.view_ids is not None
    parsed, batch, prior_C = parse_method(method), np.arange(24)[::-1][:18].copy(), probs_NC.mean(0)
    one, two = (torch.cat([model(input_ids=torch.tensor([ids[i]])).logits for i in batch])
                for ids in (data.ids, data.view_ids))  # fmt: skip
    loss_B = parsed.objective(one, probs_NC[torch.from_numpy(batch)], progress=0.6, prior_C=prior_C)
    loss = (loss_B + parsed.disagreement(one, two)).mean()
    loss.backward()
    plain = torch.cat([p.grad.flatten() for p in model.parameters()])  # type: ignore[union-attr]
    accelerator = make_accelerator(Finetune(precision="fp32"), "cpu")
    for tokens in (10_000, 60, 1):
        model.zero_grad()
        runtime = Runtime(micro_batch_tokens=tokens)
        found = _gradient(accelerator, model, 4, data, batch, parsed, 0.6, prior_C, runtime, (0, 0))
        slope = torch.cat([p.grad.flatten() for p in model.parameters()])  # type: ignore[union-attr]
        assert found == pytest.approx(loss.item(), rel=1e-5)
        assert (slope - plain).norm() < 1e-5 * plain.norm()
