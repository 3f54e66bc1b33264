"""ANLI, second round: does a Wikipedia passage entail a statement that was written to fool a model?

Source: Y. Nie et al., "Adversarial NLI: A New Benchmark for Natural Language Understanding", ACL 2020 (arXiv
1910.14599). Neutral counts as not entailed, like contradiction (paper, A.1). Statements on one passage are one group.

As original files, the release's JSON lines are read, and the authors' analysis of the development part
(``ANLI_analysis_r2_dev.csv``), which holds the class probabilities of eight models. Where all rows come from there, the
models are ready supervisors (``roberta-from-r2``, ``bert-r1``, …).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

from weakstrong.tasks._dataset import DatasetTask, Hub, Item
from weakstrong.tasks._files import DataFile, Record, records
from weakstrong.tasks.base import TASKS

NAMES = {"context": "premise", "statement": "hypothesis", "gold_label": "label"}
LABELS = {"e": 0, "n": 1, "c": 2}
PREDICTED = "preds-"
OTHER_ROUNDS = ("R1", "R3")


@TASKS.register
class AnliR2(DatasetTask):
    """Does the premise entail the hypothesis?"""

    licence: ClassVar[str] = "CC BY-NC 4.0"
    source: ClassVar[str] = "hub:facebook/anli"
    class_names: ClassVar[tuple[str, ...]] = ("not entailed", "entailed")
    published: ClassVar[int | None] = 46_460
    instruction: ClassVar[str] = "Say whether the hypothesis is entailed by the premise or not."
    hub: ClassVar[Hub] = Hub(
        "facebook/anli",
        "8e4813d81f46d313dac7892e1c28076917cfcdf9",
        {"train": "plain_text/train_r2-*.parquet", "test": "plain_text/test_r2-*.parquet"},
    )
    originals: ClassVar = {
        "train": ("train.jsonl",),
        "test": ("test.jsonl", "dev.jsonl", "*r2*dev*.csv"),
    }

    kind: Literal["anli-r2"] = "anli-r2"

    def items(self, record: Record) -> Iterable[Item]:
        label = int(record["label"])
        if label < 0:
            return
        yield Item(
            f"Premise: {self.context(record['premise'])}\nHypothesis: {record['hypothesis']}",
            int(label == LABELS["e"]),
            record["premise"],
            weak=_predictions(record),
        )

    def original(self, file: DataFile) -> Iterator[Record]:
        if Path(file.member or file.path).parent.name in OTHER_ROUNDS:
            return  # the release keeps equally named files of all rounds side by side
        for found in records(file):
            record = {NAMES.get(name, name): value for name, value in found.items()}
            if "label" in record:
                record["label"] = LABELS.get(record["label"], record["label"])
            yield record


def _predictions(record: Record) -> dict[str, tuple[float, float]]:
    """By model, the probabilities of not entailed and entailed; the file has entailment, neutral, contradiction."""
    weak = {}
    for name, value in record.items():
        if name.startswith(PREDICTED) and not name.endswith("PredLabel"):
            entailment, neutral, contradiction = json.loads(value)
            weak[name.removeprefix(PREDICTED)] = (neutral + contradiction, entailment)
    return weak
