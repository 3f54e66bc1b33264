"""Where steps run: this process, a pool of processes, Ray, Slurm; one file each."""

from weakstrong.executors.base import EXECUTORS, Executor

__all__ = ["EXECUTORS", "Executor"]
