"""Weak labels made from a supervisor's: the same accuracy with errors elsewhere, or dealt to other rows (paper App. E)."""

from weakstrong.derived.base import DERIVED, Given, Rule, parse_rule

__all__ = ["DERIVED", "Given", "Rule", "parse_rule"]
