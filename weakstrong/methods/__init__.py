"""Methods: how a student learns from weak labels. One file each."""

from weakstrong.methods.base import METHODS, Method, parse_method

__all__ = ["METHODS", "Method", "parse_method"]
