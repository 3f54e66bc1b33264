"""What a tracker shows of its one run in a folder, read by the tracker's own reader where it has one, for tests."""

from __future__ import annotations

import json
import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Shown:
    """What a tracker shows of one run."""

    series: dict[str, list[tuple[int, float]]]
    config: str
    table: str
    name: str
    ok: bool | None = None
    """None where the tracker knows no such thing."""


def read_tensorboard(folder: Path) -> Shown:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    (place,) = (folder / "runs").iterdir()
    found = EventAccumulator(str(place), {"scalars": 0, "tensors": 0}).Reload()
    texts = {
        tag: make_ndarray(found.Tensors(tag)[0].tensor_proto).item().decode()
        for tag in found.Tags()["tensors"]
    }
    series = {t: [(e.step, e.value) for e in found.Scalars(t)] for t in found.Tags()["scalars"]}
    return Shown(series, texts["config"], texts["aggregate"], place.name)


def read_mlflow(folder: Path) -> Shown:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("weakstrong")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    histories = {m: client.get_metric_history(run.info.run_id, m) for m in run.data.metrics}
    series = {name: sorted((m.step, m.value) for m in history) for name, history in histories.items()}
    table = Path(client.download_artifacts(run.info.run_id, "aggregate.json", str(folder))).read_text()
    return Shown(series, json.dumps(run.data.params), table, run.info.run_name, run.info.status == "FINISHED")


def read_trackio(folder: Path) -> Shown:
    db = sqlite3.connect(folder / "trackio" / "weakstrong.db")
    series: dict[str, list[tuple[int, float]]] = {}
    table = ""
    for step, metrics in db.execute("select step, metrics from metrics order by id"):
        for name, value in json.loads(metrics).items():
            if isinstance(value, (int, float)):
                series.setdefault(name, []).append((step, value))
            else:
                table = json.dumps(value)
    ((name, config),) = db.execute("select run_name, config from configs").fetchall()
    db.close()
    return Shown(series, config if isinstance(config, str) else config.decode(), table, name)


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Records of a ``.wandb`` file: a LevelDB log in blocks of 32 KiB, after a header of 7 bytes.

    wandb 0.31 has a reader in Go only.
    """
    place, record = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or its last part
            yield record
            record = b""


def read_wandb(folder: Path) -> Shown:
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    shown = Shown({}, "", "", "")
    for data in wandb_records(path.read_bytes()):
        record = Record.FromString(data)
        if record.HasField("run"):
            shown.name = record.run.display_name
            shown.config = str({i.key: i.value_json for i in record.run.config.update})
        if record.HasField("history"):
            row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            for name in row.keys() - {"at"}:
                if name[0] != "_" and isinstance(row[name], (int, float)):
                    shown.series.setdefault(name, []).append((row["at"], row[name]))
        if record.HasField("exit"):
            shown.ok = record.exit.exit_code == 0
    (table,) = (folder / "wandb").glob("offline-run-*/files/media/table/*.json")
    shown.table = table.read_text()
    return shown


READERS = {
    "tensorboard": read_tensorboard, "mlflow": read_mlflow, "trackio": read_trackio, "wandb": read_wandb,
}  # fmt: skip
