"""Time and peak memory of loading a large file of the user's own rows.

python benchmarks/million_rows.py [--rows 1000000] [--format csv] [--limit 20000] [--ids] [--raters 0] prints JSON. The
file is written to a temporary folder; a child process loads it, and its peak of resident memory is counted from just
before it does, when the interpreter and the libraries are in memory already.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

CLASSES = ("bad", "good")
CHILD = """
import json, resource, sys, time
import polars, pyarrow.parquet
from weakstrong.tasks import parse_task

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

task, before, start = parse_task(json.loads(sys.argv[1])), peak_mib(), time.perf_counter()
rows = task.load()
print(json.dumps({
    "kept": len(rows.table),
    "seconds": round(time.perf_counter() - start, 2),
    "baseline_mib": round(before),
    "peak_mib": round(peak_mib() - before),
}))
"""


def records(count: int, raters: int) -> Iterator[dict[str, str]]:
    """Texts of some 100 characters, one in fifty a repeat of an earlier one, with ids, labels and votes."""
    dice = random.Random(0)
    words = [f"w{i}" for i in range(5000)]
    text = ""
    for i in range(count):
        if i % 50 != 1:
            text = " ".join(dice.choices(words, k=18)) + (',"\n' if i % 7 == 0 else "")
        votes = {f"rater_{r}": dice.choice(CLASSES) for r in range(raters)}
        yield {"id": f"row-{i:08d}", "text": text, "label": dice.choice(CLASSES)} | votes


def write(path: Path, rows: Iterator[dict[str, str]]) -> None:
    """Write the rows in the format of the file's ending."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        # In pieces: a child's peak of memory starts at that of the parent it was forked from.
        table = pa.Table.from_pylist(list(islice(rows, 50_000)))
        with pq.ParquetWriter(path, table.schema) as file:
            while len(table):
                file.write_table(table)
                table = pa.Table.from_pylist(list(islice(rows, 50_000)), table.schema)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
            return
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        first = next(rows)
        writer.writerow(first)
        writer.writerow(first.values())
        writer.writerows(row.values() for row in rows)


def main() -> None:
    """Write, load in a child, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--format", choices=["csv", "tsv", "jsonl", "parquet"], default="csv")
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--ids", action="store_true", help="name rows by the id column, not by their texts")
    parser.add_argument("--raters", type=int, default=0, help="so many rater columns")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{options.format}"
        write(path, records(options.rows, options.raters))
        fields = {"kind": "file", "path": str(path), "limit": options.limit}
        fields |= {"id": "id"} if options.ids else {}
        fields |= {"rater": [f"rater_{r}" for r in range(options.raters)]} if options.raters else {}
        start = time.perf_counter()
        command = [sys.executable, "-c", CHILD, json.dumps(fields)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = {"rows": options.rows, "format": options.format, "file_mib": path.stat().st_size >> 20}
        found |= json.loads(done.stdout) | {"child_seconds": round(time.perf_counter() - start, 2)}
        found["rows_per_second"] = round(options.rows / found["seconds"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
