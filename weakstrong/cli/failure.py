"""What a command says of an error that was raised on purpose."""

from __future__ import annotations

import json
import sys

from weakstrong.errors import WeakStrongError
from weakstrong.redact import visible


def fail(error: WeakStrongError, as_json: bool) -> int:
    """Print an error for a person, or as JSON, and return the exit code."""
    if as_json:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}, ensure_ascii=False))
    else:
        print(f"error: {visible(str(error))}", file=sys.stderr)
    return 1
