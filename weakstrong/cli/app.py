"""The commands. Each imports what it needs when it runs, so ``--help`` and ``plan`` stay quick."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from weakstrong.cli.failure import fail
from weakstrong.cli.options import (
    AddressOption,
    AnalysisOption,
    ChosenOption,
    ControlsOption,
    DataDirOption,
    DeviceOption,
    ExecutorOption,
    ExperimentArgument,
    FigureFormat,
    FirstOption,
    GroupOption,
    IdOption,
    JsonOption,
    LabelOption,
    MethodOption,
    ParaphraseOption,
    ProcessesOption,
    PromptOption,
    RaterOption,
    RegimeOption,
    RejectedOption,
    ResultFormat,
    SecondOption,
    SeedsOption,
    StoreOption,
    StudentOption,
    SupervisorOption,
    TaskOption,
    TestRows,
    TextOption,
    ThreadsOption,
    TrackerOption,
    TrainRows,
    ValidationRows,
    WeakLabelOption,
)
from weakstrong.cli.practitioner import predict, train
from weakstrong.cli.store import store_app
from weakstrong.cli.tasks import tasks_app
from weakstrong.errors import WeakStrongError
from weakstrong.redact import visible, without_secrets

app = typer.Typer(
    name="w2s",
    help="Train strong models on weak labels, and measure honestly how much better than their supervisor they become.\n\n"
    "Start with `w2s run`: it needs no arguments, no GPU and no model hub.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


AXES = (
    *("task", "supervisor", "student", "method", "seeds", "regime", "analysis", "controls"),
    *("train_rows", "validation_rows", "test_rows"),
)
COLUMNS = (
    *("text", "label", "group", "id", "weak_label", "paraphrase", "rater"),
    *("prompt", "chosen", "rejected", "first", "second"),
)


def _experiment(given: dict[str, Any]) -> Any:
    """The experiments that the options of `run` or `plan` mean."""
    from weakstrong.cli.axes import build_experiments

    flags, columns = ({n: given[n] for n in names if given[n] is not None} for names in (AXES, COLUMNS))
    return build_experiments(given["experiment"], flags, columns, given["data_dir"])


@app.command()
def run(
    experiment: ExperimentArgument = None,
    task: TaskOption = None,
    supervisor: SupervisorOption = None,
    student: StudentOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    regime: RegimeOption = None,
    analysis: AnalysisOption = None,
    controls: ControlsOption = None,
    train_rows: TrainRows = None,
    validation_rows: ValidationRows = None,
    test_rows: TestRows = None,
    text: TextOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    id: IdOption = None,
    weak_label: WeakLabelOption = None,
    paraphrase: ParaphraseOption = None,
    rater: RaterOption = None,
    prompt: PromptOption = None,
    chosen: ChosenOption = None,
    rejected: RejectedOption = None,
    first: FirstOption = None,
    second: SecondOption = None,
    data_dir: DataDirOption = None,
    store: StoreOption = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Where the page goes. Default: report.html in the store.")
    ] = None,
    device: DeviceOption = "cpu",
    tracker: TrackerOption = None,
    executor: ExecutorOption = "local",
    address: AddressOption = None,
    processes: ProcessesOption = 1,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run an experiment: supervisor, student and ceiling for every cell, then PGR with intervals.

    Without arguments this is the embedded quickstart: film sentences, two weak supervisors, one strong student, naive
    and confidence, 5 seeds; some minutes on 2 cores the first time, seconds after. What is stored is never computed
    again, so after Ctrl-C the same command resumes. `--executor` runs the same steps elsewhere.

    Example: `w2s run --task file:texts.csv --text body --label stars --supervisor minilm-l6 --student smollm2-135m:22`
    """
    given = dict(locals())
    from weakstrong.cli.axes import with_address
    from weakstrong.cli.console import run_and_show
    from weakstrong.training.spec import Runtime

    raise typer.Exit(
        run_and_show(
            _experiment(given),
            store,
            report,
            Runtime(device=device, processes=processes, threads=threads),
            as_json,
            tracker or (),
            with_address(executor, address),
        )
    )


@app.command()
def plan(
    experiment: ExperimentArgument = None,
    task: TaskOption = None,
    supervisor: SupervisorOption = None,
    student: StudentOption = None,
    method: MethodOption = None,
    seeds: SeedsOption = None,
    regime: RegimeOption = None,
    analysis: AnalysisOption = None,
    controls: ControlsOption = None,
    train_rows: TrainRows = None,
    validation_rows: ValidationRows = None,
    test_rows: TestRows = None,
    text: TextOption = None,
    label: LabelOption = None,
    group: GroupOption = None,
    id: IdOption = None,
    weak_label: WeakLabelOption = None,
    paraphrase: ParaphraseOption = None,
    rater: RaterOption = None,
    prompt: PromptOption = None,
    chosen: ChosenOption = None,
    rejected: RejectedOption = None,
    first: FirstOption = None,
    second: SecondOption = None,
    data_dir: DataDirOption = None,
    store: StoreOption = None,
    device: DeviceOption = "cpu",
    executor: ExecutorOption = "",
    address: AddressOption = None,
    processes: ProcessesOption = 1,
    threads: ThreadsOption = None,
    slots: Annotated[
        int | None,
        typer.Option("--slots", min=1, help="Pieces of work at once that your cluster gives you."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what `run` would do: cells, steps, and what is stored already. Computes nothing, imports no torch.

    With `--executor` also what the steps ask for (cores, GPUs, memory), estimated FLOPs and hours, and the critical path.

    Example: `w2s plan experiment.yaml --executor process`
    """
    given = dict(locals())
    from weakstrong.cli.axes import with_address
    from weakstrong.cli.plan import show_plan
    from weakstrong.training.spec import Runtime

    runtime = Runtime(device=device, processes=processes, threads=threads)
    show_plan(_experiment(given), store, as_json, with_address(executor, address), runtime, slots)


@app.command()
def results(
    experiment: ExperimentArgument = None,
    store: StoreOption = None,
    format: Annotated[ResultFormat, typer.Option("--format", help="How to print.")] = ResultFormat.TABLE,
    aggregate: Annotated[
        bool, typer.Option("--aggregate", help="One row per group of seeds, with intervals and tests.")
    ] = False,
    across: Annotated[
        bool, typer.Option("--across", help="One row per pair and method over all tasks: median PGR, tests.")
    ] = False,
    prompted: Annotated[
        bool, typer.Option("--prompting", help="Prompting beside naive and the ceiling, student by student.")
    ] = False,
    controls: Annotated[
        bool, typer.Option("--controls", help="What the controls should show, and whether they do.")
    ] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Every scoring of test rows, and what was chosen among.")
    ] = False,
    best: Annotated[
        str | None,
        typer.Option("--best", help="The best method of each pair of models, less what choosing lifts it."),
    ] = None,
    corrected: Annotated[
        bool, typer.Option("--corrected", help="With --best seed: less its expected maximum by chance.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print what a store holds: one row per cell, per group of seeds (--aggregate), over tasks (--across), or per control."""
    from weakstrong.cli.listings import show_controls, show_results
    from weakstrong.cli.record import show_best, show_ledger, show_prompting

    shape = ResultFormat.JSON if as_json else format
    if ledger:
        show_ledger(experiment, store, shape)
    elif best is not None:
        show_best(experiment, store, shape, best, corrected)
    elif prompted:
        show_prompting(experiment, store, shape)
    elif controls:
        show_controls(experiment, store, shape)
    else:
        show_results(experiment, store, shape, aggregate, across)


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
def serve(
    store: StoreOption = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 0,
    host: Annotated[
        str,
        typer.Option(
            "--host", help="Address to listen at. Others than this machine's own are read by others."
        ),
    ] = "127.0.0.1",
    title: Annotated[str | None, typer.Option("--title", help="Heading of the page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the page of a store in the browser, and keep it up to date while a run fills the store. Ctrl-C ends it."""
    from weakstrong.cli.serving import serve_page

    serve_page(store, host, port, title, as_json)


@app.command()
def analyse(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Analyses, e.g. agreement. Without any: list what there is."),
    ] = None,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", help="An experiment in YAML. Default: all that were run.")
    ] = None,
    store: StoreOption = None,
    format: Annotated[ResultFormat, typer.Option("--format", help="How to print.")] = ResultFormat.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Measure what students learned, from the predictions in a store; without names, list the analyses.

    An analysis that needs trainings of its own is computed by `w2s run --analysis NAME`.
    """
    from weakstrong.cli.analyse import list_analyses, show_analyses

    if names:
        show_analyses(names, experiment, store, ResultFormat.JSON if as_json else format)
    else:
        list_analyses(as_json)


@app.command()
def figures(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Figures, e.g. fig3 fig8. Without any: all that the results can fill."),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")] = Path("figures"),
    format: Annotated[FigureFormat, typer.Option("--format", help="Kind of file.")] = FigureFormat.PDF,
    task: Annotated[str | None, typer.Option("--task", help="Only figures of this task.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the figures and what each needs.")] = False,
    experiment: Annotated[
        Path | None, typer.Option("--experiment", help="An experiment in YAML. Default: all that were run.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the paper's figures from what a store holds, as PDF, SVG or PNG, with captions in captions.md.

    Example: `w2s figures fig3 fig5 --out paper/figures --format pdf`
    """
    from weakstrong.cli.figures import list_figures, write_figures

    if listing:
        list_figures(as_json)
    else:
        write_figures(names or [], out, format, task, experiment, store, as_json)


@app.command()
def status(
    experiment: ExperimentArgument = None, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Say how many cells are done, missing or failed; what runs now, where and for how long; what failed and why."""
    from weakstrong.cli.status import show_status

    show_status(experiment, store, as_json)


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
def methods(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Method files of your own to describe too. Naming one runs it, and lets stores name it from then on."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List methods with their parameters and where they come from."""
    from weakstrong.cli.listings import show_methods

    show_methods(files or [], as_json)


app.add_typer(tasks_app, name="tasks")
app.add_typer(store_app, name="store")
app.command()(train)
app.command()(predict)


def main() -> None:
    """Entry point: errors raised on purpose become one message and exit code 1."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {visible(without_secrets(str(message)))}\n"
    try:
        app()
    except WeakStrongError as error:
        sys.exit(fail(error, "--json" in sys.argv))
    except KeyboardInterrupt as stopped:
        print("\nstopped; finished steps are kept, the same command resumes", file=sys.stderr)
        sys.exit(128 + int(getattr(stopped, "signal", 2)))


if __name__ == "__main__":
    main()
