"""Analyses of what students learned (paper §4 to §5, App. C to E): one entry, one file."""

from weakstrong.analyses.base import ANALYSES, Analysis, parse_analysis
from weakstrong.analyses.runs import Runs

__all__ = ["ANALYSES", "Analysis", "Runs", "parse_analysis"]
