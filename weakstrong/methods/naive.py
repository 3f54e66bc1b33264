"""Naive finetuning: imitate the weak labels (Burns et al. 2023, §4.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from weakstrong.methods.base import METHODS, Method


@METHODS.register
class Naive(Method):
    """Cross entropy against the weak labels as they are, soft or hard."""

    source: ClassVar[str] = "Burns et al. 2023, §4.2"
    kind: Literal["naive"] = "naive"
