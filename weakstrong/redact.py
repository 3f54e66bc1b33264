"""Words fit to be shown and kept: without secrets, without control characters, without formulas."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

# A user alone may be a token in http, and is no secret elsewhere (abfs://container@account, sftp://user@host).
_TOKEN = re.compile(r"(https?:/{1,2})[^/\s:@'\"<>]+@", re.IGNORECASE)
# One slash too, for that is what `Path("https://me:secret@host")` leaves. A password with a slash in it is no right
# URL, and is printed all the same; "host:8080/" begins no password.
_PASSWORD = re.compile(r"(:/{1,2})[^/\s:@\['\"<>]*:(?!\d{1,5}(?:/|$))[^\s'\"<>]*@")
_QUERY = re.compile(r"(\w://[^\s?#'\"<>]+)\?[^\s'\"<>]+")
_SECRET_NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)(_|$)|(API|ACCESS|SECRET|PRIVATE)_?KEY", re.IGNORECASE
)
_NO_SECRET = re.compile(r"_(FILE|PATH|DIR|URL|MODE)$", re.IGNORECASE)
# C0, DEL and C1 but for tab and line feed: an escape sequence may write the clipboard or what has been printed. And the
# marks that turn the direction of writing, which show other words than there are.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_FORMULA = re.compile(r"[=+\-@\t\r].", re.DOTALL)
SHORTEST = 8
"""Characters of a secret; a shorter value, such as "true", would tear holes into ordinary words."""


def without_credentials(text: str) -> str:
    """``text`` with the ``user:password@`` and the query (it may hold a signature) of every URL in it removed.

    >>> without_credentials("asked https://me:secret@host/simple/")
    'asked https://host/simple/'
    >>> without_credentials("no answer from https://host/file?signature=abc")
    'no answer from https://host/file?…'
    """
    if ":/" not in text:
        return text
    return _QUERY.sub(r"\1?…", _TOKEN.sub(r"\1", _PASSWORD.sub(r"\1", text)))


def has_credentials(url: str) -> bool:
    """Whether a URL holds a password.

    >>> has_credentials("s3://key:secret@bucket/x"), has_credentials("s3://bucket/x")
    (True, False)
    """
    return bool(_PASSWORD.search(url))


def secrets_of(environ: Mapping[str, str]) -> Iterator[str]:
    """Values of the variables that are named like secrets (``HF_TOKEN``, ``AWS_SECRET_ACCESS_KEY``, …)."""
    for name, value in environ.items():
        if len(value) >= SHORTEST and _SECRET_NAME.search(name) and not _NO_SECRET.search(name):
            yield value


def without_secrets(text: str) -> str:
    """``text`` without credentials in URLs, and with ``***`` for the values of this process's secret variables."""
    for secret in sorted(secrets_of(os.environ), key=len, reverse=True):
        text = text.replace(secret, "***")
    return without_credentials(text)


def values_without_secrets(value: Any) -> Any:
    """JSON values with every text in them, names of fields too, `without_secrets`; the text of JSON would break."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {without_secrets(name): values_without_secrets(inner) for name, inner in value.items()}
    return [values_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def visible(text: str) -> str:
    r"""``text`` with control characters written out.

    >>> visible("a\x1b]0;b\x07")
    'a\\x1b]0;b\\x07'
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def spreadsheet_safe(value: object) -> object:
    """A value for a CSV cell: text that a spreadsheet would take for a formula begins with an apostrophe.

    Numbers stay as they are, as text too, and so does a lone sign, which is the name of many a class.

    >>> [spreadsheet_safe(v) for v in ("=1+1", "@SUM(A1)", "-1", "+", "naive", -0.5)]
    ["'=1+1", "'@SUM(A1)", '-1', '+', 'naive', -0.5]
    """
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
