"""The practitioner's commands: `w2s train` and `w2s predict`. What they do is in `student`, imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weakstrong.cli.options import JsonOption, Precision, PredictionFormat, Regime, StoreOption


def train(
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="Texts with weak labels: CSV, TSV, JSONL, Parquet, or a data set folder."
        ),
    ],
    weak_label: Annotated[
        str,
        typer.Option(
            "--weak-label",
            help="Column of class names, of probabilities of the second class, or one column per class by commas.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the student.")],
    text: Annotated[str, typer.Option("--text", help="Column of the texts.")] = "text",
    first: Annotated[
        str | None,
        typer.Option(
            "--first", help="Of comparisons: column of one text. The student is then a reward model."
        ),
    ] = None,
    second: Annotated[
        str | None,
        typer.Option(
            "--second",
            help="Of comparisons: column of the other; --weak-label: how probably it is the better one.",
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Of comparisons: column of what both texts answer.")
    ] = None,
    student: Annotated[str, typer.Option("--student", help="The strong model.")] = "smollm2-135m:22",
    method: Annotated[str, typer.Option("--method", help="How it learns from weak labels.")] = "confidence",
    regime: Annotated[
        Regime,
        typer.Option(
            "--regime", help="finetune trains all weights; probe only a head, in minutes (decoders)."
        ),
    ] = Regime.FINETUNE,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Column with ground truth for some rows: these score the student and never train it.",
        ),
    ] = None,
    weak_labels: Annotated[
        Path | None,
        typer.Option("--weak-labels", help="Another file with the weak-label columns, joined by --id."),
    ] = None,
    id: Annotated[str | None, typer.Option("--id", help="Column of unique row names.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="Rows with equal values stay together.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the rows.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak learning rate.")
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision",
            help="Of matrix products, default bf16; fp32 is many times faster on a CPU without bf16 instructions.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Order of rows, and which are held out.")] = 0,
    device: Annotated[str, typer.Option("--device", help="torch device: cpu, cuda, mps.")] = "cpu",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a student on weak labels and write it as an ordinary Hugging Face folder with a model card.

    With --first and --second the rows are comparisons, and the student is a reward model with one output.

    Example: `w2s train --data texts.csv --text body --weak-label guess --out student`
    """
    from weakstrong.cli.student import train_and_show

    train_and_show(
        data,
        weak_label,
        out,
        text,
        first,
        second,
        prompt,
        student,
        method,
        str(regime),
        label,
        weak_labels,
        id,
        group,
        epochs,
        learning_rate,
        None if precision is None else str(precision),
        seed,
        device,
        store,
        as_json,
    )


def predict(
    folder: Annotated[
        Path, typer.Argument(help="A student written by `w2s train`, or any sequence classifier.")
    ],
    file: Annotated[Path, typer.Argument(help="Texts: CSV, TSV, JSONL, Parquet or a data set folder.")],
    text: Annotated[str, typer.Option("--text", help="Column of the texts.")] = "text",
    format: Annotated[
        PredictionFormat, typer.Option("--format", help="Parquet needs --out.")
    ] = PredictionFormat.JSON,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File to write. Default: standard output.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="torch device: cpu, cuda, mps.")] = "cpu",
) -> None:
    """Classify texts: one row per input, in order, with `label` and `probabilities` (a reward model: with `reward`)."""
    from weakstrong.cli.student import predict_and_write

    predict_and_write(folder, file, text, str(format), out, device)
