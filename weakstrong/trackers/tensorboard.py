"""TensorBoard: event files in ``runs/``, looked at with ``tensorboard --logdir runs``. Sends nothing anywhere."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from weakstrong.trackers.base import TRACKERS, Point, Tracker


@TRACKERS.register
class TensorBoard(Tracker):
    """Writes the event file itself, by TensorBoard's own record writer and messages.

    Its `EventFileWriter` would load TensorFlow where that is installed, and put the machine's name into the file's.
    """

    modules = ("tensorboard",)

    def start(self, name: str, config: dict[str, Any], folder: Path) -> None:
        """See `Tracker`."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        words = re.sub(r"[^\w.-]+", "-", name)[:80].strip("-.") or "run"
        place = folder / "runs" / f"{words}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:6]}"
        place.mkdir(parents=True)
        now = time.time()
        self._file = (place / f"events.out.tfevents.{now:.0f}.weakstrong.{os.getpid()}").open("wb")
        self._writer = RecordWriter(self._file)
        self._write([Event(wall_time=now, file_version="brain.Event:2")])
        self._text("config", f"```json\n{json.dumps(config, indent=1, ensure_ascii=False)}\n```")

    def _write(self, events: Sequence[Any] | Iterator[Any]) -> None:
        for event in events:
            self._writer.write(event.SerializeToString())
        self._writer.flush()

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.plugins.text.metadata import create_summary_metadata

        value = Summary.Value(
            tag=tag,
            metadata=create_summary_metadata(tag, ""),
            tensor=TensorProto(dtype="DT_STRING", string_val=[text.encode()]),
        )
        self._write([Event(wall_time=time.time(), summary=Summary(value=[value]))])

    def log(self, points: Sequence[Point]) -> None:
        """See `Tracker`; values are stored as float32."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        now = time.time()
        self._write(
            Event(
                wall_time=now, step=at, summary=Summary(value=[Summary.Value(tag=name, simple_value=value)])
            )
            for name, at, value in points
        )

    def table(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """See `Tracker`; a table in Markdown."""

        def line(values: Sequence[object]) -> str:
            cells = (f"{v:.6g}" if isinstance(v, float) else "" if v is None else str(v) for v in values)
            return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

        columns = list(rows[0])
        self._text(
            name,
            "\n".join([line(columns), "|---" * len(columns) + "|", *(line(list(r.values())) for r in rows)]),
        )

    def finish(self, ok: bool) -> None:
        """See `Tracker`; TensorBoard knows no state of a run."""
        self._writer.close()
