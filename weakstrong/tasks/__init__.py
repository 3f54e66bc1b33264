"""Tasks: where rows come from and how they read as text. One file each."""

from weakstrong.tasks.base import TASKS, Task, TaskKind, TaskRows, parse_task

__all__ = ["TASKS", "Task", "TaskKind", "TaskRows", "parse_task"]
