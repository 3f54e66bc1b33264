"""The commands. Each imports what it needs when it runs, so ``--help`` and ``plan`` stay quick."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from weakstrong.cli.options import (
    ExperimentArgument,
    GroupOption,
    IdOption,
    JsonOption,
    LabelOption,
    MethodOption,
    ParaphraseOption,
    PredictionFormat,
    Regime,
    RegimeOption,
    ResultFormat,
    SeedsOption,
    StoreOption,
    StudentOption,
    SupervisorOption,
    TaskOption,
    TestRows,
    TextOption,
    TrainRows,
    ValidationRows,
    WeakLabelOption,
)
from weakstrong.errors import WeakStrongError

app = typer.Typer(
    name="w2s",
    help="Train strong models on weak labels, and measure honestly how much better than their supervisor they become.\n\n"
    "Start with `w2s run`: it needs no arguments, no GPU and no model hub.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _experiment(path: Path | None, flags: dict[str, Any], columns: dict[str, Any]) -> Any:
    from weakstrong.cli.axes import build_experiments

    return build_experiments(path, flags, columns)


def _axes(**flags: Any) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


@app.command()
def run(
    experiment: ExperimentArgument = None,
    task: TaskOption = None,
    supervisor: SupervisorOption = None,
    student: StudentOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    regime: RegimeOption = None,
    train_rows: TrainRows = None,
    validation_rows: ValidationRows = None,
    test_rows: TestRows = None,
    text: TextOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    id: IdOption = None,
    weak_label: WeakLabelOption = None,
    paraphrase: ParaphraseOption = None,
    store: StoreOption = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where the page goes. Default: report.html in the store.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="torch device of each step: cpu, cuda, mps.")
    ] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Run an experiment: supervisor, student and ceiling for every cell, then PGR with intervals.

    Without arguments this is the embedded quickstart: film sentences, two weak supervisors, one strong student, naive
    and confidence, 5 seeds; some minutes on 2 cores the first time, seconds after. What is stored is never computed
    again, so after Ctrl-C the same command resumes.

    Example: `w2s run --task file:texts.csv --text body --label stars --supervisor minilm-l6 --student smollm2-135m:22`
    """
    from weakstrong.cli.console import run_and_show

    flags = _axes(
        task=task,
        supervisor=supervisor,
        student=student,
        method=method,
        seeds=seeds,
        regime=regime,
        train_rows=train_rows,
        validation_rows=validation_rows,
        test_rows=test_rows,
    )
    columns = _axes(text=text, label=label, group=group, id=id, weak_label=weak_label, paraphrase=paraphrase)
    planned = _experiment(experiment, flags, columns)
    raise typer.Exit(run_and_show(planned, store, report, device, as_json))


@app.command()
def plan(
    experiment: ExperimentArgument = None,
    task: TaskOption = None,
    supervisor: SupervisorOption = None,
    student: StudentOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    regime: RegimeOption = None,
    train_rows: TrainRows = None,
    validation_rows: ValidationRows = None,
    test_rows: TestRows = None,
    text: TextOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    id: IdOption = None,
    weak_label: WeakLabelOption = None,
    paraphrase: ParaphraseOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `run` would do: cells, steps, and what is stored already. Computes nothing, imports no torch."""
    from weakstrong.cli.listings import show_plan

    flags = _axes(
        task=task,
        supervisor=supervisor,
        student=student,
        method=method,
        seeds=seeds,
        regime=regime,
        train_rows=train_rows,
        validation_rows=validation_rows,
        test_rows=test_rows,
    )
    columns = _axes(text=text, label=label, group=group, id=id, weak_label=weak_label, paraphrase=paraphrase)
    show_plan(_experiment(experiment, flags, columns), store, as_json)


@app.command()
def results(
    experiment: ExperimentArgument = None,
    store: StoreOption = None,
    format: Annotated[ResultFormat, typer.Option("--format", help="How to print.")] = ResultFormat.TABLE,
    aggregate: Annotated[
        bool, typer.Option("--aggregate", help="One row per group of seeds, with intervals and tests.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what a store holds: one row per cell, or with --aggregate one per group of seeds."""
    from weakstrong.cli.listings import show_results

    show_results(experiment, store, ResultFormat.JSON if as_json else format, aggregate)


@app.command()
def report(
    experiment: ExperimentArgument = None,
    store: StoreOption = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The page to write.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option("--title", help="Heading of the page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one self-contained HTML page with figures, table, every spec and provenance."""
    from weakstrong.cli.listings import write_report

    write_report(experiment, store, out, title, as_json)


@app.command()
def status(
    experiment: ExperimentArgument = None, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Say how many cells are done, missing or failed, and why they failed."""
    from weakstrong.cli.listings import show_status

    show_status(experiment, store, as_json)


@app.command()
def tasks(as_json: JsonOption = False) -> None:
    """List tasks: rows, classes, licence, source, and whether they are cached."""
    from weakstrong.cli.listings import show_tasks

    show_tasks(as_json)


@app.command()
def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="More models to describe, e.g. smollm2-135m:8 or hub:org/name@revision."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List models: parameters, forward FLOPs per token, licence, source, and whether they are cached."""
    from weakstrong.cli.listings import show_models

    show_models(names or [], as_json)


@app.command()
def methods(as_json: JsonOption = False) -> None:
    """List methods with their parameters and where they come from."""
    from weakstrong.cli.listings import show_methods

    show_methods(as_json)


@app.command()
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
    seed: Annotated[int, typer.Option("--seed", help="Order of rows, and which are held out.")] = 0,
    device: Annotated[str, typer.Option("--device", help="torch device: cpu, cuda, mps.")] = "cpu",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a student on weak labels and write it as an ordinary Hugging Face folder with a model card.

    Example: `w2s train --data texts.csv --text body --weak-label guess --out student`
    """
    from weakstrong.cli.student import train_and_show

    train_and_show(
        data,
        weak_label,
        out,
        text,
        student,
        method,
        str(regime),
        label,
        weak_labels,
        id,
        group,
        epochs,
        learning_rate,
        seed,
        device,
        store,
        as_json,
    )


@app.command()
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
    """Classify texts: one row per input, in order, with `label` and `probabilities`."""
    from weakstrong.cli.student import predict_and_write

    predict_and_write(folder, file, text, str(format), out, device)


def fail(error: WeakStrongError, as_json: bool) -> int:
    """Print an error for a person, or as JSON, and return the exit code."""
    if as_json:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}, ensure_ascii=False))
    else:
        print(f"error: {error}", file=sys.stderr)
    return 1


def main() -> None:
    """Entry point: errors raised on purpose become one message and exit code 1."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        app()
    except WeakStrongError as error:
        sys.exit(fail(error, "--json" in sys.argv))
    except KeyboardInterrupt:
        print("\nstopped; finished steps are kept, the same command resumes", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
