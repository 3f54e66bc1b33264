"""Experiment trackers: other programs' views of a run, fed from what the store holds. One file each."""

from weakstrong.trackers._feed import Tracked, track
from weakstrong.trackers.base import TRACKERS, Point, Tracker

__all__ = ["TRACKERS", "Point", "Tracked", "Tracker", "track"]
