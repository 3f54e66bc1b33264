"""The care of a store on the screen: `w2s store ls | verify | gc | export | import`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weakstrong.cli.options import ExperimentArgument, JsonOption, StoreOption
from weakstrong.errors import StoreError, WeakStrongError

if TYPE_CHECKING:
    from weakstrong.experiment import Experiment
    from weakstrong.store import Store
    from weakstrong.store_bundle import Carried
    from weakstrong.store_steps import Step

store_app = typer.Typer(
    help="Look after a store: list it, verify every byte, remove what nobody needs, carry results elsewhere.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
LISTED = 20


def readable(size: int) -> str:
    """Bytes for people.

    >>> readable(999), readable(1_500), readable(2_345_678_901)
    ('999 B', '1.5 kB', '2.3 GB')
    """
    number, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{size} B" if units[0] == "B" else f"{number:.1f} {units[0]}"


@contextmanager
def _progress(words: str) -> Iterator[Callable[[int, int], object]]:
    """A bar on standard error, on a terminal only."""
    from weakstrong.cli.console import is_live

    if not is_live():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say(words: str) -> None:
    print(words, file=sys.stderr)


@store_app.command("ls")
def list_kinds(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List what a store holds: results of each kind of step, their bytes, and when the newest was written."""
    from weakstrong.cli.listings import open_store, print_json, print_table
    from weakstrong.store_care import kinds

    opened = open_store(store)
    found = kinds(opened)
    rows: list[dict[str, Any]] = [asdict(kind) | {"newest": _date(kind.newest)} for kind in found]
    if as_json:
        print_json({"store": opened.url, "kinds": rows})
        return
    for row in rows:
        row["bytes"] = readable(row["bytes"])
    print_table(rows, ["name", "results", "bytes", "newest"], ("results", "bytes"))
    print(
        f"\n{sum(k.results for k in found):,} results, {readable(sum(k.bytes for k in found))} in {opened.url}"
    )


def _date(seconds: float) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


@store_app.command()
def verify(
    store: StoreOption = None,
    set_aside: Annotated[
        bool,
        typer.Option("--set-aside", help="Move damaged results to .damaged, so that they are computed anew."),
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read every record and file of a store and compare digests. Exit code 1 if something is damaged.

    A record without a digest of itself (written by an older version) is counted as unsealed; its recipe and files are
    checked all the same.
    """
    from weakstrong.cli.listings import open_store, print_json
    from weakstrong.store_care import verify as verify_all

    opened = open_store(store)
    with _progress("reading") as progress:
        verdicts = verify_all(opened, progress)
    damaged = [v for v in verdicts if v.state == "damaged"]
    moved = {}
    if set_aside and not dry_run:
        moved = {v.key: opened.set_aside(v.name, v.key, v.words) for v in damaged}
    counts = {state: sum(v.state == state for v in verdicts) for state in ("whole", "unsealed", "damaged")}
    if as_json:
        rows = [asdict(v) | {"moved_to": moved.get(v.key) or None} for v in verdicts if v.state != "whole"]
        print_json({"store": opened.url, **counts, "bytes": sum(v.bytes for v in verdicts), "results": rows})
    else:
        for verdict in damaged:
            print(f"damaged  {verdict.name} {verdict.key[:16]}: {verdict.words}")
            if set_aside:
                print(f"  {'would be moved' if dry_run else f'moved to {moved[verdict.key]}'}")
        for verdict in (v for v in verdicts if v.state == "unsealed"):
            print(f"unsealed {verdict.name} {verdict.key[:16]}")
        print(
            f"{len(verdicts):,} results, {readable(sum(v.bytes for v in verdicts))}: {counts['whole']:,} whole, "
            f"{counts['unsealed']:,} unsealed, {counts['damaged']:,} damaged"
        )
        if damaged and not set_aside:
            print("w2s store verify --set-aside moves the damaged away, and w2s run computes them anew.")
    raise typer.Exit(1 if damaged else 0)


def every_experiment(store: Store) -> dict[str, Experiment]:
    """All experiments that were run on a store, by key.

    Raises:
        StoreError: if one of them cannot be read as it was written: what it needs is unknown then.
    """
    from weakstrong.experiment import Experiment
    from weakstrong.methods._own import only_known_files

    paths = [str(e["name"]) for e in store.place.entries(store.place.path(".experiments"))]
    found = {}
    for path, data in sorted(store.place.read_all([p for p in paths if p.endswith(".json")]).items()):
        try:
            with only_known_files():
                experiment = Experiment.parse(json.loads(data), path)
        except (WeakStrongError, ValueError) as error:
            raise StoreError(
                f"{path} cannot be read, so what it needs is unknown and nothing is removed: {error}\n"
                "Mend it (a method file that is gone?), or remove it if its results can go."
            ) from error
        key = path.rpartition("/")[2].removesuffix(".json")
        if experiment.key() != key:
            raise StoreError(
                f"{path} was written by another version of weakstrong, which may need other results; nothing is "
                "removed. Use that version, or run the experiment again and remove the file."
            )
        found[key] = experiment
    return found


def _steps(experiments: Iterator[Experiment] | list[Experiment]) -> list[Step]:
    """Scores and checks of all cells: what results and reports open."""
    from weakstrong.graph import Graph

    graph = Graph()
    found: dict[str, Step] = {}
    for experiment in experiments:
        for cell in experiment.cells():
            made = graph.cell(cell)
            found |= {step.key: step for step in (*made.scores(), made.check)}
    return list(found.values())


@store_app.command()
def gc(
    store: StoreOption = None,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Also remove what was set aside as damaged.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what nobody needs: results of no experiment that was run here, and what killed processes left.

    Kept is all that experiments of this store need (not what only `w2s train` or your own code made), and whatever a
    living process works on: while one does, no result is removed.
    """
    from weakstrong.cli.listings import open_store, print_json
    from weakstrong.graph import closure
    from weakstrong.store_garbage import Garbage

    opened = open_store(store)
    experiments: dict[str, Experiment] = {}

    def needed() -> set[str]:
        experiments.update(every_experiment(opened))
        return {step.key for step in closure(_steps(list(experiments.values())))}

    garbage = Garbage(opened, needed, _say)
    litter = list(garbage.find(damaged))
    if not dry_run:
        with _progress("removing") as progress:
            for number, item in enumerate(litter):
                item.remove()
                progress(number + 1, len(litter))
    size = sum(item.bytes for item in litter)
    working = len(garbage.working)
    if as_json:
        rows = [{"what": item.what, "path": item.path, "bytes": item.bytes} for item in litter]
        print_json(
            {"store": opened.url, "experiments": len(experiments), "working": working, "dry_run": dry_run}
            | {"bytes": size, "removed": rows}
        )
        return
    for item in litter[:LISTED]:
        print(f"{item.what:<12} {readable(item.bytes):>9}  {item.path}")
    if len(litter) > LISTED:
        print(f"… and {len(litter) - LISTED:,} more (all: --json)")
    if working:
        print(
            f"{working} other processes are at work here, so no result was touched; run it again when they end"
        )
    done = "would be removed" if dry_run else "removed"
    print(
        f"{len(litter):,} things {done}, {readable(size)}; kept what the {len(experiments)} experiments of this store need"
    )


@store_app.command("export")
def export_results(
    experiment: ExperimentArgument = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")] = Path("results.tar"),
    full: Annotated[
        bool,
        typer.Option("--full", help="Also all that the scores were computed from: labels, models, features."),
    ] = False,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the results of an experiment (or of all) to one file that `w2s store import` reads.

    It holds what `w2s results` and `w2s report` need. Equal results give equal bytes.
    """
    from weakstrong.cli.listings import open_store
    from weakstrong.experiment import experiments_in
    from weakstrong.graph import closure
    from weakstrong.store_bundle import checked_target, write_bundle

    opened = open_store(store)
    if experiment is None:
        chosen = every_experiment(opened)
    else:
        chosen = {one.key(): one for one in experiments_in(experiment)}
    if not chosen:
        raise StoreError(f"the store {opened.url} holds no experiment; run one with w2s run")
    steps = _steps(list(chosen.values()))
    wanted = closure(steps) if full else steps
    there = {name: opened.keys(name) for name in {step.name for step in wanted}}
    stored = [(step.name, step.key) for step in wanted if step.key in there[step.name]]
    if not stored:
        raise StoreError(
            f"the store {opened.url} holds nothing of {experiment or 'its experiments'} yet; "
            f"run it with w2s run {'' if experiment is None else f'{experiment} '}--store {opened.url}"
        )
    described = {key: one.to_dict() for key, one in chosen.items()}
    carried = write_bundle(opened, checked_target(out), described, stored, dry_run)
    _tell(carried, opened, out, dry_run, as_json, "would be written to" if dry_run else "written to")


@store_app.command("import")
def import_results(
    file: Annotated[Path, typer.Argument(help="A file that `w2s store export` wrote.")],
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Bring exported results into a store; every digest is checked, and what is there already stays.

    Only plain files with expected names are read, and nothing in them is run.
    """
    from weakstrong.api import default_store
    from weakstrong.cli.listings import open_store
    from weakstrong.store import Store
    from weakstrong.store_bundle import read_bundle

    opened = open_store(store) if dry_run else Store(store or default_store())
    with _progress("importing") as progress:
        carried = read_bundle(opened, file, dry_run, progress)
    _tell(carried, opened, file, dry_run, as_json, "would come from" if dry_run else "came from")


def _tell(carried: Carried, store: Store, file: Path, dry_run: bool, as_json: bool, did: str) -> None:
    if as_json:
        from weakstrong.cli.listings import print_json

        print_json({"store": store.url, "file": str(file), "dry_run": dry_run} | asdict(carried))
        return
    there = f" ({carried.there:,} more were there)" if carried.there else ""
    print(
        f"{carried.results:,} results{there} of {carried.experiments} experiments, {readable(carried.bytes)}, "
        f"{did} {file}; store: {store.url}"
    )
