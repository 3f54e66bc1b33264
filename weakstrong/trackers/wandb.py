"""Weights & Biases: ``wandb/`` in the working folder, uploaded by ``wandb sync``, or at once with ``WANDB_MODE=online``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weakstrong.errors import ConfigError
from weakstrong.trackers.base import PROJECT, TRACKERS, Point, Tracker, rows_by_moment


@TRACKERS.register
class Wandb(Tracker):
    """A run that says nothing of this machine, its user, command line, packages or git folder."""

    modules = ("wandb",)

    def start(self, name: str, config: dict[str, Any], folder: Path) -> None:
        """See `Tracker`. Reports of crashes are off unless the user's ``WANDB_ERROR_REPORTING`` says otherwise.

        Raises:
            ConfigError: if the run is to go online and there is no key, for which wandb would ask the terminal.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        mode = os.environ.get("WANDB_MODE") or "offline"
        if mode in ("online", "shared", "run") and not wandb.login(prompt=False, verify=False):
            raise ConfigError(f"WANDB_MODE={mode} needs a key: run wandb login, or set WANDB_API_KEY")
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name,
            config=config,
            # None leaves the choice to WANDB_MODE.
            mode=None if os.environ.get("WANDB_MODE") else "offline",
            dir=None if os.environ.get("WANDB_DIR") else str(folder),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
        # Steps end in any order, and wandb's own count of calls only rises.
        self._run.define_metric("at")
        self._run.define_metric("*", step_metric="at")

    def log(self, points: Sequence[Point]) -> None:
        """See `Tracker`."""
        for at, row in rows_by_moment(points):
            self._run.log({"at": at} | row)

    def table(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """See `Tracker`."""
        columns = list(rows[0])
        self._run.log({name: self._wandb.Table(columns=columns, data=[list(row.values()) for row in rows])})

    def finish(self, ok: bool) -> None:
        """See `Tracker`."""
        self._run.finish(exit_code=0 if ok else 1)
