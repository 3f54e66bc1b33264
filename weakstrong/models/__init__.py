"""Models: where pretrained weights come from, ladders of depth-truncated rungs, heads. One embedded model a file."""

from weakstrong.models.base import MODELS, Card, ModelSpec, card, parse_model

__all__ = ["MODELS", "Card", "ModelSpec", "card", "parse_model"]
