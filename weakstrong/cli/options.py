"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from weakstrong.executors.base import EXECUTORS
from weakstrong.trackers.base import TRACKERS


class ResultFormat(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class PredictionFormat(StrEnum):
    """How predictions are written."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class FigureFormat(StrEnum):
    """How figures are written."""

    PDF = "pdf"
    SVG = "svg"
    PNG = "png"


class Regime(StrEnum):
    """How models are trained."""

    PROBE = "probe"
    FINETUNE = "finetune"


class Precision(StrEnum):
    """Number format of matrix products."""

    BF16 = "bf16"
    FP32 = "fp32"


StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Where results live: a folder or an fsspec URL. Default: $WEAKSTRONG_STORE or ./weakstrong-store.",
    ),
]
TrackerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        help=f"Show the run in an experiment tracker too: {', '.join(TRACKERS.names())} (docs/trackers.md). Repeat.",
    ),
]
ExperimentArgument = Annotated[
    Path | None,
    typer.Argument(
        help="An experiment in YAML. Without it: the embedded quickstart, or the axes given as flags."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", help="Task name, or file:PATH for your own rows. Repeat, or separate by commas."),
]
SupervisorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--supervisor",
        help="Supervisor model, e.g. minilm-l6, or `file` for weak labels in your file. Repeat, or commas.",
    ),
]
StudentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--student", help="Student model, e.g. smollm2-135m:22 (its first 22 layers). Repeat, or commas."
    ),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="Method, e.g. naive, confidence:a_max=0.5, bootstrapping+confidence (joined), path/to/own.py. Repeat; commas separate methods or parameters. All: w2s methods.",
    ),
]
SeedsOption = Annotated[
    str | None, typer.Option("--seeds", help="Number of seeds (5 means 0 to 4), or a list: 3,4,7.")
]
AnalysisOption = Annotated[
    list[str] | None,
    typer.Option(
        "--analysis",
        help="Measure more than scores, e.g. agreement; computes what it needs. Repeat, or commas. All: w2s analyse.",
    ),
]
ControlsOption = Annotated[
    bool | None,
    typer.Option(
        "--controls",
        help="Add cells whose outcome is known beforehand: shuffled labels, random errors, trivial imitation, zero-shot, supervisor = student (docs/controls.md).",
        show_default=False,
    ),
]
RegimeOption = Annotated[
    Regime | None,
    typer.Option("--regime", help="probe: heads on frozen features, minutes. finetune: all weights, longer."),
]
TrainRows = Annotated[
    int | None,
    typer.Option(
        "--train-rows", help="Rows in each half: one for the supervisor, one for student and ceiling."
    ),
]
ValidationRows = Annotated[
    int | None, typer.Option("--validation-rows", help="Rows that decide when training stops.")
]
TestRows = Annotated[
    int | None, typer.Option("--test-rows", help="Rows that are scored, equally many per class.")
]
TextOption = Annotated[str | None, typer.Option("--text", help="With file:PATH: column of the texts.")]
LabelOption = Annotated[
    str | None, typer.Option("--label", help="With file:PATH: column of the ground truth.")
]
GroupOption = Annotated[
    str | None, typer.Option("--group", help="With file:PATH: rows with equal values stay in one part.")
]
IdOption = Annotated[str | None, typer.Option("--id", help="With file:PATH: column of unique row names.")]
WeakLabelOption = Annotated[
    str | None, typer.Option("--weak-label", help="With file:PATH: column(s) of weak labels, by commas.")
]
RaterOption = Annotated[
    str | None,
    typer.Option(
        "--rater",
        help="With file:PATH: columns of class names, one for each rater, by commas (--supervisor raters:2).",
    ),
]
PromptOption = Annotated[
    str | None,
    typer.Option("--prompt", help="With file:PATH of comparisons: column of what both texts answer."),
]
ChosenOption = Annotated[
    str | None, typer.Option("--chosen", help="With file:PATH of comparisons: column of the preferred text.")
]
RejectedOption = Annotated[
    str | None, typer.Option("--rejected", help="With file:PATH of comparisons: column of the other text.")
]
FirstOption = Annotated[
    str | None,
    typer.Option(
        "--first", help="With file:PATH of comparisons: column of text A; --label says which is preferred."
    ),
]
SecondOption = Annotated[
    str | None, typer.Option("--second", help="With file:PATH of comparisons: column of text B.")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Folder with a task's original files, or with one such folder for each task; without it: the hub.",
    ),
]
ParaphraseOption = Annotated[
    str | None,
    typer.Option("--paraphrase", help="With file:PATH: column of another wording, for --method consistency."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="torch device of each step: cpu, cuda, mps.")]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor",
        help=f"Where steps run: {', '.join(EXECUTORS.names())}; with options: process:workers=4, slurm:partition=gpu,minutes=120 (docs/executors.md).",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", help="With --executor ray: of a running cluster, e.g. auto or ray://head:10001."
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes", min=1, help="Processes that share one training step (torchrun, or Ray Train)."
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="Threads of each step on the CPU; by default as many as its worker has cores. Finetuning gives the same bits for the same number.",
    ),
]
