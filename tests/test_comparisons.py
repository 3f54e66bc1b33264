"""Comparisons: two texts through one output, the same in both regimes, and a reward model out (paper A.3).

Legend: N rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from weakstrong.api import run_with_report
from weakstrong.builders.data import PROBABILITIES, ids_of
from weakstrong.data import Part, one_hot, positions, read_probabilities
from weakstrong.errors import ConfigError, ModelError
from weakstrong.experiment import Experiment
from weakstrong.graph import CellSteps, Graph
from weakstrong.methods import parse_method
from weakstrong.models._load import classification_layer, load_classifier, unembedding_rows
from weakstrong.models.base import model_folder, parse_model
from weakstrong.schedule import run_steps
from weakstrong.store import Store
from weakstrong.tasks.base import parse_task
from weakstrong.training.comparisons import REWARD, one_output
from weakstrong.training.features import extract, tokenize, tokenize_rows
from weakstrong.training.finetune import finetune
from weakstrong.training.fit import Rows, _gradient, class_logits, make_accelerator, probabilities
from weakstrong.training.spec import FeatureSpec, Finetune, Probe, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
SPEC = Finetune(epochs=6, batch_rows=16, learning_rate=3e-3, precision="fp32", warmup=0.2, evaluations=1)
PROBE = {"kind": "probe", "epochs": 20, "learning_rate": 0.02, "features": {"dtype": "float32"}}
FINETUNE = {"kind": "finetune", "epochs": 4, "batch_rows": 16, "learning_rate": 3e-3, "precision": "fp32"}


def comparisons(rows: MakeRows, count: int, seed: int = 0) -> tuple[list[tuple[str, str]], list[int]]:
    """Pairs of a text of class 0 and one of class 1 in random order; the one of class 1 is preferred."""
    texts, labels = rows(4 * count, seed=seed, noise=0.0)
    sides = [[t for t, y in zip(texts, labels, strict=True) if y == c][:count] for c in (0, 1)]
    coin = np.random.default_rng(seed).integers(0, 2, count).tolist()
    pairs = [(a, b) if y else (b, a) for a, b, y in zip(*sides, coin, strict=True)]
    return pairs, coin


@pytest.fixture
def tiny(tiny_model: Tiny) -> str:
    return str(tiny_model("llama", layers=2))


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_the_log_odds_are_the_difference_of_two_rewards(
    tiny_model: Tiny, rows: MakeRows, family: str
) -> None:
    """Sides mixed up when both go through in one pass, or padding of the longer side read by the shorter one."""
    model, tokenizer = load_classifier(parse_model(str(tiny_model(family, layers=2))), REWARD, "auto", 0.0, 0)
    with torch.no_grad():
        classification_layer(model).weight.normal_()
    model.eval()
    pairs, _ = comparisons(rows, 9)
    ids = tokenize_rows(tokenizer, pairs, 64)
    rewards = [
        torch.cat([class_logits(model, [row], 4, "cpu") for row in tokenize(tokenizer, side, 64)])
        for side in zip(*pairs, strict=True)
    ]
    odds_N = (rewards[1] - rewards[0]).flatten()
    torch.testing.assert_close(
        class_logits(model, ids, 4, "cpu"), torch.cat(rewards, 1), atol=2e-5, rtol=1e-5
    )
    for budget in (1, 50, 10_000):
        found_N2 = probabilities(model, 4, ids, Runtime(forward_tokens=budget))
        torch.testing.assert_close(found_N2[:, 1], torch.sigmoid(odds_N), atol=2e-5, rtol=1e-5)


def test_the_head_is_one_unembedding_row(tiny: str) -> None:
    """Two outputs, or a random head, where the paper starts from the unembedding row of one token."""
    spec = parse_model(tiny)
    model, tokenizer = load_classifier(spec, REWARD, "auto", 0.0, 0)
    row = unembedding_rows(model_folder(spec), tokenizer, 1)
    assert row is not None
    assert torch.equal(classification_layer(model).weight, row)
    assert row.shape[0] == 1
    assert model.config.num_labels == 1


@pytest.mark.parametrize("method", ["early-stop:on=last", "confidence+early-stop:on=last"])
def test_micro_batches_do_not_change_the_gradient(tiny: str, rows: MakeRows, method: str) -> None:
    """A threshold over a micro-batch of comparisons, or a side of a pair left out when a batch is cut."""
    model, tokenizer = load_classifier(parse_model(tiny), REWARD, "auto", 0.0, 0)
    pairs, labels = comparisons(rows, 24)
    data = Rows(tokenize_rows(tokenizer, pairs, 64), torch.from_numpy(one_hot(labels, 2)))
    slopes = []
    for budget in (10_000, 60, 1):
        model.zero_grad()
        _gradient(
            make_accelerator(SPEC, "cpu"), model, 4, data, np.arange(24), parse_method(method), 0.7,
            data.probs_NC.mean(0), Runtime(micro_batch_tokens=budget), (0, 0),
        )  # fmt: skip
        slopes.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    for other in slopes[1:]:
        assert (other - slopes[0]).norm() < 1e-5 * slopes[0].norm()


def test_finetuning_learns_a_preference_and_knows_no_position(tiny: str, rows: MakeRows) -> None:
    """A model that learns which side is preferred instead of what; swapping sides must turn the answer round."""
    pairs, labels = comparisons(rows, 160)
    held, held_labels = comparisons(rows, 60, seed=1)
    model, tokenizer, _ = finetune(
        parse_model(tiny), ("first", "second"), (pairs, one_hot(labels, 2)), (held, one_hot(held_labels, 2)),
        parse_method("naive"), SPEC, 0, Runtime(),
    )  # fmt: skip
    ids = tokenize_rows(tokenizer, held, 64)
    found_N2 = probabilities(model, 4, ids, Runtime())
    assert (found_N2.argmax(1).numpy() == np.array(held_labels)).mean() > 0.85
    turned_N2 = probabilities(model, 4, [(b, a) for a, b in ids], Runtime())
    torch.testing.assert_close(turned_N2, found_N2.flip(1), atol=1e-4, rtol=1e-4)
    assert model.config.num_labels == 1


class Bench:
    """An experiment on comparisons in a file, with a store of its own."""

    def __init__(self, folder: Path, model: str, rows: MakeRows) -> None:
        pairs, labels = comparisons(rows, 240)
        frame = pl.DataFrame({
            "chosen": [pair[y] for pair, y in zip(pairs, labels, strict=True)],
            "rejected": [pair[1 - y] for pair, y in zip(pairs, labels, strict=True)],
        })  # fmt: skip
        frame.write_csv(folder / "pairs.csv")
        self.task = {
            "kind": "preference-file",
            "path": str(folder / "pairs.csv"),
            "chosen": "chosen",
            "rejected": "rejected",
        }
        self.model, self.store = model, Store(folder / "store")

    def experiment(self, *methods: str, training: Any = PROBE, **changes: Any) -> Experiment:
        values = {
            "task": self.task, "supervisors": f"{self.model}::1", "students": self.model, "methods": list(methods),
            "seeds": 1, "supervisor_training": training, "student_training": training,
            "split": {"train_rows": 60, "validation_rows": 20, "test_rows": 60},
        }  # fmt: skip
        return Experiment.parse(values | changes)

    def cell(self, *methods: str, **changes: Any) -> CellSteps:
        cell = self.experiment(*methods, **changes).cells()[0]
        made = Graph().cell(cell)
        assert not run_steps(list(made.scores()), self.store, Runtime()).failed
        return made


@pytest.fixture
def bench(tmp_path: Path, tiny: str, rows: MakeRows) -> Bench:
    return Bench(tmp_path, tiny, rows)


def test_a_probe_of_comparisons_is_one_output_on_each_text(bench: Bench) -> None:
    """Features of the first text only, a difference the wrong way round, or a probe that is no reward."""
    from safetensors.numpy import load_file

    made = bench.cell("naive")
    folder = bench.store.open(made.ceiling_fit)
    ids, probs_N2 = read_probabilities(folder / PROBABILITIES)
    test = ids_of(bench.store.open(made.ceiling_fit.inputs["split"]), [Part.TEST])
    rows = parse_task(bench.task).load().table
    where = positions(test, rows["id"].to_pylist(), "test rows")
    sides = [
        extract(
            parse_model(bench.model),
            [None],
            rows[c].take(where).to_pylist(),
            FeatureSpec(dtype="float32"),
            Runtime(),
        )[0]
        for c in ("text", "other")
    ]
    w_D1 = one_output(load_file(folder / "head.safetensors")["weight_DC"])
    odds_N = ((sides[1] - sides[0]) @ w_D1)[:, 0]
    found_N = probs_N2[positions(test, ids, "predictions")][:, 1]
    assert np.allclose(found_N, 1 / (1 + np.exp(-odds_N)), atol=1e-4)
    truth_N = rows["label"].to_numpy()[where]
    assert ((found_N > 0.5) == truth_N).mean() == bench.store.record(made.ceiling)["summary"]["accuracy"]
    assert ((found_N > 0.5) == truth_N).mean() > 0.7


METHODS = (
    "naive",
    "confidence",
    "product",
    "threshold:share=0.5",
    "consistency",
    "bootstrapping:rounds=1",
    "calibrated",
)


@pytest.mark.parametrize(("training", "more"), [(PROBE, ()), (FINETUNE, ("lp-ft", "lora", "generative"))])
def test_methods_run_on_comparisons(bench: Bench, training: Any, more: tuple[str, ...]) -> None:
    """A method that reads one text of the two, or a head of the wrong width."""
    results, report = run_with_report(bench.experiment(*METHODS, *more, training=training), store=bench.store)
    assert not report.failed
    assert all(c["status"] == "done" for c in results.cells)
    assert len(results.cells) == len(METHODS) + len(more)


def test_generative_tuning_reads_both_completions(bench: Bench) -> None:
    """Tuning on the first completions only: the paper trains on all prefix-completion pairs (§5.2.2)."""
    made = bench.cell("generative")
    tune = made.student_fit.inputs["features"].inputs["start"]
    one = bench.store.record(tune)["summary"]["tokens"]
    rows = parse_task(bench.task).load().table
    chosen = set(ids_of(bench.store.open(tune.inputs["split"]), [Part.TRANSFER]))
    words = sum(
        len(t.split()) + 1
        for row in rows.to_pylist() if row["id"] in chosen
        for t in (row["text"], row["other"])
    )  # fmt: skip
    assert one == words


def test_prompting_refuses_comparisons_before_anything_runs(bench: Bench) -> None:
    """A prompt that shows the first of two texts and scores its class as a preference."""
    with pytest.raises(ConfigError, match=r"zero-shot.*comparisons"):
        Graph().cell(bench.experiment("zero-shot").cells()[0])


def weak_pairs(folder: Path, rows: MakeRows) -> Path:
    """A file of comparisons with weak preferences, and the truth for forty of them."""
    pairs, labels = comparisons(rows, 220)
    rng = np.random.default_rng(3)
    weak = [round(0.8 * (y if rng.random() > 0.15 else 1 - y) + 0.1, 3) for y in labels]
    truth = [None if i >= 40 else "ab"[y] for i, y in enumerate(labels)]
    frame = pl.DataFrame(
        {"a": [p[0] for p in pairs], "b": [p[1] for p in pairs], "guess": weak, "best": truth}
    )
    frame.write_csv(folder / "weak.csv")
    return folder / "weak.csv"


@pytest.mark.parametrize("regime", ["probe", "finetune"])
def test_a_reward_model_comes_out(tmp_path: Path, tiny: str, rows: MakeRows, regime: str) -> None:
    """A head with two outputs or the wrong sign: an export that other tools read as another model."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from weakstrong.predict import is_reward_model, predict, rewards
    from weakstrong.train import train_student

    training = (Finetune if regime == "finetune" else Probe).parse(
        FINETUNE if regime == "finetune" else PROBE
    )
    made = train_student(
        weak_pairs(tmp_path, rows), first="a", second="b", weak_label="guess", label="best", student=tiny,
        method="naive", training=training, out=tmp_path / "out", store=tmp_path / "store",
    )  # fmt: skip
    assert made.score is not None
    assert made.score.value > 0.6
    assert made.rows[Part.TEST] == 40
    assert is_reward_model(tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")
    held, labels = comparisons(rows, 120, seed=5)
    sides = [rewards(tmp_path / "out", [pair[side] for pair in held]) for side in (0, 1)]
    assert np.mean((sides[1] > sides[0]) == np.array(labels)) > 0.7
    plain = pipeline("text-classification", model=model, tokenizer=tokenizer, function_to_apply="none")
    found = [out["score"] for out in plain([pair[0] for pair in held], truncation=True)]
    assert np.allclose(found, sides[0], atol=1e-4)
    with pytest.raises(ModelError, match="reward model"):
        predict(tmp_path / "out", ["w1 w2"])
    assert "A reward model" in (tmp_path / "out" / "README.md").read_text()


def test_weak_labels_of_comparisons_are_a_column(tmp_path: Path, tiny: str, rows: MakeRows) -> None:
    """A second file that is silently left unread."""
    from weakstrong.train import train_student

    with pytest.raises(ConfigError, match="leave --weak-labels out"):
        train_student(
            weak_pairs(tmp_path, rows), first="a", second="b", weak_label="guess", weak_labels=tmp_path / "x.csv",
            student=tiny, out=tmp_path / "out", store=tmp_path / "store",
        )  # fmt: skip
