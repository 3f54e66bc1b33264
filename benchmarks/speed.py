"""Rates of features, finetuning and probes beside the machine's own matrix-product rate, in one run.

python benchmarks/speed.py [--rows 1500] prints JSON. Counts 2 (forward) or 6 (training) floating-point operations per
parameter outside the embeddings and real token; padding, attention and the optimiser count as nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time

import numpy as np
import torch

from weakstrong.data import one_hot
from weakstrong.methods import parse_method
from weakstrong.models import card, parse_model
from weakstrong.tasks import parse_task
from weakstrong.training.batching import epoch_batches
from weakstrong.training.features import extract, tokenize
from weakstrong.training.finetune import finetune
from weakstrong.training.probe import HeadTask, train_heads
from weakstrong.training.spec import FeatureSpec, Finetune, Probe, Runtime


def peak(size: int = 2048, repeats: int = 20) -> float:
    """Best bf16 matrix-product rate of a few tries, in GFLOP/s."""
    a = torch.randn(size, size).bfloat16()
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        a @ a
        best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def features(texts: list[str], model: str) -> dict[str, float]:
    """Forward rate, from the first batch's end to the last's."""
    marks: list[tuple[float, float]] = []
    runtime = Runtime(progress=lambda done, total, words: marks.append((time.perf_counter(), done)))
    before = peak()
    extract(parse_model(model), [None], texts, FeatureSpec(), runtime)
    rate = (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])
    gflops = rate * (card(parse_model(model)).flops_per_token or 0) / 1e9
    top = max(before, peak())
    return {"tokens_per_second": rate, "gflops": gflops, "peak_gflops": top, "share": gflops / top}


def finetuning(texts: list[str], labels: list[int], model: str, warm_steps: int = 10) -> dict[str, float]:
    """Training rate of whole steps (forward, backward, clipping, AdamW) over a run as in recipes/finetune.yaml.

    ``share`` is that of all steps but the first ``warm_steps``, in which every page of gradients and moments is touched
    for the first time; ``share_of_whole_run`` counts them too.
    """
    probs = one_hot(labels, 2)
    spec, before, parsed = Finetune(evaluations=1), peak(), parse_model(model)
    held = (texts[:32], probs[:32])
    ends: list[float] = []
    runtime = Runtime(progress=lambda done, total, words: ends.append(time.perf_counter()))
    _, tokenizer, history = finetune(
        parsed, ("0", "1"), (texts, probs), held, parse_method("naive"), spec, 0, runtime
    )
    lengths = [len(row) for row in tokenize(tokenizer, texts, spec.max_tokens)]
    batches = [b for e in range(spec.epochs) for b in epoch_batches(lengths, spec.batch_rows, 0, e, True)]
    tokens = [sum(lengths[i] for i in batch) for batch in batches]
    assert sum(tokens) == history.tokens
    steady = sum(tokens[warm_steps:]) / (ends[-1] - ends[warm_steps - 1])
    flops = 3 * (card(parsed).flops_per_token or 0) / 1e9
    top = max(before, peak())
    whole = history.tokens / history.seconds
    return {
        "tokens_per_second": steady,
        "gflops": flops * steady,
        "peak_gflops": top,
        "share": flops * steady / top,
        "share_of_whole_run": flops * whole / top,
    }


def probes(heads: int, rows: int = 2500, width: int = 576) -> dict[str, float]:
    """Seconds for many heads: five seeds of rows, the rest of the axes shared among them."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((4 * rows, width), dtype=np.float32)
    tasks = []
    for i in range(heads):
        order = np.random.default_rng(i % 5).permutation(len(matrix))
        probabilities = rng.dirichlet((1.0, 1.0), rows + 500).astype(np.float32)
        train, held = order[:rows], order[rows : rows + 500]
        tasks.append(HeadTask(matrix, train, held, probabilities[:rows], probabilities[rows:], i % 5))
    start = time.perf_counter()
    train_heads(tasks, Probe(), parse_method("confidence"), Runtime())
    return {"heads": heads, "seconds": time.perf_counter() - start}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1500, help="texts for features and finetuning")
    parser.add_argument("--heads", type=int, default=1000)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    table = parse_task("movie-snippets").load().table
    texts, labels = table["text"].to_pylist()[: options.rows], table["label"].to_pylist()[: options.rows]
    result = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "probes": probes(options.heads),
        "features": features(texts, options.model),
        "finetuning": finetuning(texts[:1000], labels[:1000], options.model),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
