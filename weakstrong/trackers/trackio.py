"""Trackio: its own folder (``TRACKIO_DIR``), looked at with ``trackio show``; on the hub if ``TRACKIO_SPACE_ID`` names a Space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weakstrong.trackers.base import PROJECT, TRACKERS, Point, Tracker, rows_by_moment


@TRACKERS.register
class Trackio(Tracker):
    """A run without measurements of the machine. Trackio has no usage statistics to switch off."""

    modules = ("trackio",)

    def start(self, name: str, config: dict[str, Any], folder: Path) -> None:
        """See `Tracker`; ``folder`` is not used, for ``trackio show`` looks in trackio's own."""
        import trackio

        self._trackio = trackio
        self._run = trackio.init(
            PROJECT, name=name, config=config, embed=False, auto_log_gpu=False, auto_log_cpu=False
        )

    def log(self, points: Sequence[Point]) -> None:
        """See `Tracker`."""
        for at, row in rows_by_moment(points):
            self._run.log(row, step=at)

    def table(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """See `Tracker`."""
        columns = list(rows[0])
        self._run.log(
            {name: self._trackio.Table(columns=columns, data=[list(row.values()) for row in rows])}, step=0
        )

    def finish(self, ok: bool) -> None:
        """See `Tracker`; trackio knows no state of a run."""
        self._run.finish()
