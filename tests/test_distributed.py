"""Two processes that share one training end where one does, take the same decisions and fail together.

The tests start this file once by torchrun, as a script, and compare what it wrote with trainings in this process.
"""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from weakstrong.errors import ConfigError, Stopped
from weakstrong.methods import parse_method
from weakstrong.models.base import parse_model
from weakstrong.training import generative
from weakstrong.training.batching import share_of_batch
from weakstrong.training.distributed import add_up, any_rank, from_main, group, joined, rank, world_size
from weakstrong.training.features import tokenize_rows
from weakstrong.training.finetune import finetune
from weakstrong.training.fit import make_accelerator, probabilities
from weakstrong.training.spec import Finetune, Generative, Lora, Runtime

Tiny = Callable[..., Path]
MakeRows = Callable[..., tuple[list[str], list[int]]]
ROWS = 49
"""Rows to train on: six batches of eight, and one of a single row, in which one of two processes has nothing to do."""
SPEC = Finetune(epochs=2, batch_rows=8, learning_rate=2e-3, precision="fp32")
TUNE = Generative(epochs=1, batch_rows=8, learning_rate=3e-3, precision="fp32")
MODES = {"ddp": 10**9, "fsdp": 0}


@dataclass(frozen=True)
class Case:
    """One training; ``changes`` are of `SPEC`."""

    family: str = "llama"
    method: str = "naive"
    changes: dict[str, Any] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=lambda: {"micro_batch_tokens": 60})
    view: bool = False
    pairs: bool = False
    start: Path | None = None
    tolerance: float = 1e-5
    modes: tuple[str, ...] = ("ddp",)


BOTH = tuple(MODES)
CASES = {
    "rowwise": Case(),
    "whole batch": Case(method="confidence", modes=BOTH),
    "one micro-batch": Case(method="confidence", runtime={}),
    "average": Case("bert", "confidence+early-stop:on=last", {"ema": 0.9}),
    "adapters": Case(method="confidence", changes={"lora": Lora(rank=2)}, modes=BOTH),
    "views": Case(method="consistency", view=True, runtime={"gradient_checkpointing": True}, modes=BOTH),
    "pairs": Case(method="confidence", pairs=True),
    "bf16": Case("gpt2", "early-stop:on=last", {"precision": "bf16"}, tolerance=1e-2),
}
TUNED = ("llama", "gpt2")  # the second's unembedding is its embedding
STOP_AT = 5


def train(
    folder: Path, case: Case, runtime: dict[str, Any], scratch: Path | None = None
) -> tuple[Any, dict[str, Any]]:
    """Weights, and what every process should agree on."""
    rows, models = (json.loads((folder / f"{name}.json").read_text()) for name in ("rows", "models"))
    yes = np.where(np.array(rows["labels"]) == 1, 0.9, 0.2)
    probs_NC = np.stack([1 - yes, yes], 1).astype(np.float32)
    texts, view = rows["texts"], rows["texts"][1 : ROWS + 1] if case.view else None
    if case.pairs:
        texts = list(zip(texts, texts[1:] + texts[:1], strict=True))
    network, tokenizer, history = finetune(
        parse_model(models[case.family]), ("no", "yes"), (texts[:ROWS], probs_NC[:ROWS]),
        (texts[ROWS:], probs_NC[ROWS:]), parse_method(case.method),
        SPEC.model_copy(update=case.changes), 0, Runtime(**case.runtime | runtime), scratch, view=view,
        folder=case.start,
    )  # fmt: skip
    ids = tokenize_rows(tokenizer, texts[ROWS:], 64)
    found = probabilities(network, tokenizer.pad_token_id, ids, Runtime(forward_tokens=100))
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    assert type(network).__name__.endswith("ForSequenceClassification")
    assert not [name for name, p in weights.items() if isinstance(p, DTensor)]
    decided = [(step, score) for step, _, score in history.evaluations]
    return weights | {"probabilities": found}, {
        "history": [decided, history.best_step, history.tokens, history.resumed_at],
        "losses": [loss for _, loss, _ in history.evaluations],
    }


def tuned(folder: Path, family: str, out: Path, runtime: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The same of a language model."""
    rows, models = (json.loads((folder / f"{name}.json").read_text()) for name in ("rows", "models"))
    many = Runtime(micro_batch_tokens=60, **runtime)
    summary = generative.tune(parse_model(models[family]), rows["texts"][:ROWS], TUNE, 0, many, None, out)
    path = out / "model.safetensors"
    losses = [loss for _, loss in summary["losses"]]
    return load_file(path) if path.exists() else {}, {"history": summary["tokens"], "losses": losses}


class Work:
    """What one of the processes does, and what it found."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, {}
        self.main = rank() == 0

    def note(self, name: str, weights: dict[str, torch.Tensor], told: dict[str, Any]) -> None:
        bits = b"".join(weights[n].contiguous().view(torch.uint8).numpy().tobytes() for n in sorted(weights))
        self.told[name] = told | {"bits": hashlib.sha256(bits).hexdigest()}
        if self.main:
            save_file({n: p.contiguous() for n, p in weights.items()}, self.folder / f"{name}.safetensors")

    def words(self, name: str, act: Callable[[], Any]) -> None:
        """Note how ``act`` fails."""
        try:
            act()
        except (Exception, Stopped) as error:
            self.told[name] = f"{type(error).__name__}: {error}"

    def everything(self) -> None:
        for mode, above in MODES.items():
            runtime: dict[str, Any] = {"shard_above": above}
            for name, case in CASES.items():
                if mode not in case.modes:
                    continue
                shards: set[bool] = set()
                spy = {"progress": lambda done, *_, to=shards: to.add(have_shards()) if done == 1 else None}
                self.note(f"{mode} {name}", *train(self.folder, case, runtime | spy))
                self.told[f"{mode} {name}"]["shards"] = sorted(shards)
            for family in TUNED:
                out = self.folder / f"{mode} tuned {family} {rank()}"
                weights, told = tuned(self.folder, family, out, runtime)
                self.told[f"{mode} tuned {family}"] = told
                if self.main:
                    self.note(f"{mode} tuned {family}", weights, told)
            self.stop_and_go_on(mode, runtime)
        wild = Case(changes={"learning_rate": 1e30})
        self.words("wild", lambda: train(self.folder, wild, {}))
        self.words(
            "gone", lambda: train(self.folder, Case(start=None if self.main else self.folder / "gone"), {})
        )
        self.told["flags"] = any_rank(self.main, False, not self.main)
        self.told["sum"] = add_up(torch.tensor([1.0, rank()])).tolist()
        self.told["main"] = from_main(["ä", rank(), None])

    def stop_and_go_on(self, mode: str, runtime: dict[str, Any]) -> None:
        """Only the second process is asked to stop, and only the first has the files."""
        calls, case = itertools.count(1), CASES["average"]
        scratch, kept = self.folder / f"{mode} scratch" if self.main else None, []
        stop = {"stopping": lambda: not self.main and next(calls) >= STOP_AT, "kept": kept.append}
        self.words(f"{mode} stop", lambda: train(self.folder, case, runtime | stop, scratch))
        self.told[f"{mode} kept"] = [str(path) for path in kept]
        self.note(f"{mode} continued", *train(self.folder, case, runtime, scratch))


def have_shards() -> bool:
    """Whether any parameter in memory is a shard."""
    gc.collect()
    return any(issubclass(type(found), DTensor) and found.requires_grad for found in gc.get_objects())


@dataclass
class Found:
    """What both processes wrote."""

    folder: Path
    told: list[dict[str, Any]]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def found(tiny_model: Tiny, rows: MakeRows, tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("distributed")
    texts, labels = rows(72)
    models = {family: str(tiny_model(family, layers=2)) for family in ("llama", "gpt2", "bert")}
    (folder / "rows.json").write_text(json.dumps({"texts": texts, "labels": labels}))
    (folder / "models.json").write_text(json.dumps(models))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, str(folder)], env=env, capture_output=True, text=True, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stderr[:8000]
    return Found(folder, [json.loads((folder / f"told-{r}.json").read_text()) for r in (0, 1)])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the processes have: models this small lose time by more, much of it where others use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def far(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """The largest difference, but of biases whose gradient is nothing but rounding: a key's, which softmax ignores."""
    assert found.keys() == wanted.keys()
    seen = [n for n in wanted if not n.endswith(("key.bias", "c_attn.bias"))]
    return max(float((found[n] - wanted[n]).abs().max()) for n in seen)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_what_one_does(found: Found, name: str) -> None:
    """A mean of means, rows twice or never, a threshold of half a batch, a batch of one row, an average not shared.

    Tolerance: 1e-5 in weights, probabilities and losses in float32; under bf16 1e-2 in probabilities.
    """
    case = CASES[name]
    wanted, decided = train(found.folder, case, {})
    for mode in case.modes:
        weights = found.weights(f"{mode} {name}")
        if case.changes.get("precision") == "bf16":
            weights, wanted = ({"probabilities": w["probabilities"]} for w in (weights, wanted))
        else:
            assert json.loads(json.dumps(decided["history"])) == found.told[0][f"{mode} {name}"]["history"]
        assert far(weights, wanted) <= case.tolerance, mode
        assert found.told[0][f"{mode} {name}"]["losses"] == pytest.approx(
            decided["losses"], abs=case.tolerance
        )


@pytest.mark.parametrize("family", TUNED)
def test_two_processes_tune_what_one_does(found: Found, family: str, tmp_path: Path) -> None:
    """A mean over a process's own tokens, an unembedding that misses its share, a tied weight counted twice or once."""
    wanted, told = tuned(found.folder, family, tmp_path, {})
    for mode in MODES:
        assert far(found.weights(f"{mode} tuned {family}"), wanted) <= 1e-5
        assert found.told[0][f"{mode} tuned {family}"]["history"] == told["history"]
        assert found.told[0][f"{mode} tuned {family}"]["losses"] == pytest.approx(told["losses"], abs=1e-5)
        assert not (found.folder / f"{mode} tuned {family} 1").exists()


def test_all_processes_have_the_same_model_and_history(found: Found) -> None:
    """A process that stops early alone, or keeps its own best weights."""
    first, second = found.told
    for name in first:
        if not name.endswith(("kept", *(f"tuned {f}" for f in TUNED))) and name != "gone":
            left, right = ({k: v for k, v in t.items() if k != "shards"} if isinstance(t, dict) else t
                           for t in (first[name], second[name]))  # fmt: skip
            assert left == right, name


def test_only_a_model_above_the_size_is_sharded(found: Found) -> None:
    """DDP where FSDP2 was asked (Accelerate on a CPU), or shards for a small model."""
    for name, case in CASES.items():
        for mode in case.modes:
            assert found.told[0][f"{mode} {name}"]["shards"] == [mode == "fsdp"], (mode, name)


@pytest.mark.parametrize("mode", MODES)
def test_one_process_stops_all_and_one_has_the_files(found: Found, mode: str) -> None:
    """A stop of one that leaves the other waiting, moments or averages lost, a state of the main process only."""
    words = f"Stopped: stopped after step {STOP_AT} of 14; its state is saved"
    assert [told[f"{mode} stop"] for told in found.told] == [words, words]
    scratch = str(found.folder / f"{mode} scratch")
    assert [told[f"{mode} kept"] for told in found.told] == [[scratch], []]
    wanted, decided = train(found.folder, CASES["average"], {})
    decided["history"][-1] = STOP_AT
    assert found.told[1][f"{mode} continued"]["history"] == json.loads(json.dumps(decided["history"]))
    assert far(found.weights(f"{mode} continued"), wanted) <= 1e-5


def test_another_number_of_processes_goes_on_from_a_state(found: Found, tmp_path: Path) -> None:
    """Shards in a checkpoint that only as many processes can read again."""
    scratch, case = tmp_path / "scratch", CASES["average"]
    calls = itertools.count(1)
    with pytest.raises(Stopped, match="after step 5 of 14"):
        train(found.folder, case, {"stopping": lambda: next(calls) >= STOP_AT}, scratch)
    alone = load_file(scratch / "state.safetensors")
    wanted, _ = train(found.folder, case, {}, scratch)
    for mode in MODES:
        # The state of two stays at its last writing, which was at the stop.
        shared = load_file(found.folder / f"{mode} scratch" / "state.safetensors")
        assert alone.keys() == shared.keys()
        assert {n: v.shape for n, v in alone.items()} == {n: v.shape for n, v in shared.items()}
        weights, _ = train(found.folder, case, {}, found.folder / f"{mode} scratch")
        assert far(weights, wanted) <= 1e-5


def test_all_processes_fail_together(found: Found) -> None:
    """A process that fails alone, while the other waits for it for ever."""
    first, second = found.told
    assert "TrainingError: the loss is nan at step" in first["wild"]
    assert "failed on process 1 of 2; the log of that one says why" in first["gone"]
    assert str(found.folder / "gone") in second["gone"]
    assert not second["gone"].startswith("TrainingError")


def test_what_processes_tell_each_other(found: Found) -> None:
    """The flag of one that another does not see, a sum over one process, words in bytes cut short."""
    for told in found.told:
        assert told["flags"] == [True, False, True]
        assert told["sum"] == [2.0, 1.0]
        assert told["main"] == ["ä", 0, None]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_row_of_a_batch_is_dealt_once(size: int) -> None:
    """A row that two processes take, or none; one process with all the long rows."""
    generator = np.random.default_rng(size)
    for count in (1, 2, 7, 32):
        lengths = generator.integers(1, 40, count).tolist()
        dealt = [share_of_batch(lengths, 50, r, size, even=True) for r in range(size)]
        rows = np.concatenate([part for parts in dealt for part in parts])
        assert sorted(rows.tolist()) == list(range(count))
        assert len({len(parts) for parts in dealt}) == 1
        tokens = [sum(lengths[i] for part in parts for i in part) for parts in dealt]
        assert max(tokens) - min(tokens) <= 40
        assert all(share_of_batch(lengths, 50, r, size, even=False) for r in range(size))


def test_started_as_several_but_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that each train the whole model alone and write to the same files."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert (rank(), world_size(), joined()) == (1, 2, (0, 1))
    with pytest.raises(ConfigError, match="2 processes were started"):
        make_accelerator(SPEC, "cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with group("cpu"):
        assert joined() == (0, 1)


if __name__ == "__main__":
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    generative.CHUNK_TOKENS = 7
    with group("cpu"):
        work = Work(Path(sys.argv[1]))
        work.everything()
        (work.folder / f"told-{rank()}.json").write_text(json.dumps(work.told))
    os._exit(0)  # a thread of gloo may outlive the interpreter, which then aborts
