"""Methods in a user's own file, outside the package.

Such a file is code, and naming it runs it. A store names files too, and a store may come from anybody: inside
`only_known_files` a file is run only if this user has named one of the same content before, on this machine.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.machinery import SourceFileLoader
from pathlib import Path

import platformdirs

from weakstrong.errors import ConfigError
from weakstrong.methods.base import METHODS, Method

_PACKAGE = "weakstrong_own_methods"
_loaded: dict[str, str] = {}  # name -> SHA-256 of the file that is registered under it
_only_known: ContextVar[bool] = ContextVar("only_known", default=False)


@contextmanager
def only_known_files() -> Iterator[None]:
    """Inside, refuse a method file whose content this user has never named: what names it now is no user."""
    token = _only_known.set(True)
    try:
        yield
    finally:
        _only_known.reset(token)


def known_folder() -> Path:
    """Where the SHA-256 of every method file that the user has named is kept: $WEAKSTRONG_CONFIG, or the user's own."""
    named = os.environ.get("WEAKSTRONG_CONFIG")
    root = Path(named).expanduser() if named else Path(platformdirs.user_config_dir("weakstrong"))
    return root / "own-methods"


def own_method(values: dict[str, object]) -> Method:
    """The method of the file ``values["file"]``; its code is run, so name only files that you trust.

    Raises:
        ConfigError: if the file is missing, changed since ``values["sha256"]``, raises, registers no method, or may
            not be run (`only_known_files`).
    """
    path = Path(str(values["file"])).expanduser()
    name = path.stem.replace("_", "-")
    if not path.is_file():
        raise ConfigError(f"the method file {path} does not exist")
    source = path.read_bytes()
    sha256 = hashlib.sha256(source).hexdigest()
    wanted = values.get("sha256") or sha256
    if sha256 != wanted:
        raise ConfigError(
            f"the method file {path} has changed since (SHA-256 {sha256[:12]}, recorded {str(wanted)[:12]}); "
            "run it anew, or put the old file back"
        )
    known = known_folder() / sha256
    if not _only_known.get():
        with suppress(OSError):  # a home that cannot be written: `w2s results` will ask
            known.parent.mkdir(parents=True, exist_ok=True)
            known.touch()
    elif sha256 not in _loaded.values() and not known.exists():
        raise ConfigError(
            f"the method file {path} is code that you have not run here before, so it is not run because a store names "
            f"it; read it, and allow it by naming it once: w2s methods {path}"
        )
    if _loaded.get(name) != sha256:
        _load(path, name, source)
        _loaded[name] = sha256
    return METHODS.get(name).parse(values | {"kind": name, "sha256": sha256}, f"method {name}")


class _Hashed(SourceFileLoader):
    """Runs the bytes that were hashed: neither a file that has changed since, nor what lies in ``__pycache__``."""

    def __init__(self, name: str, path: Path, source: bytes) -> None:
        super().__init__(name, str(path))
        self.source = source

    def get_code(self, fullname: str) -> types.CodeType:
        code: types.CodeType = self.source_to_code(self.source, self.path)
        return code


def _load(path: Path, name: str, source: bytes) -> None:
    if _loaded.pop(name, None) is not None:
        METHODS.forget(name)
    elif name in METHODS.names():
        raise ConfigError(f"{path}: {name} is a method of the package already; rename the file")
    module_name = f"{_PACKAGE}.{path.stem}"
    loader = _Hashed(module_name, path, source)
    found = importlib.util.spec_from_file_location(module_name, path, loader=loader)
    assert found is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module  # annotations are looked up there
    try:
        loader.exec_module(module)
    except Exception as error:
        METHODS.forget(name)
        raise ConfigError(
            f"the method file {path} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if name not in METHODS.names():
        raise ConfigError(
            f"the method file {path} registers no method; decorate its class with @METHODS.register "
            "(from weakstrong.methods import METHODS, Method)"
        )
    entry: object = METHODS.get(name)
    if not (isinstance(entry, type) and issubclass(entry, Method)):
        METHODS.forget(name)
        raise ConfigError(
            f"the method file {path} registers {entry!r}, which is no Method; derive its class from Method"
        )
    kind = entry.model_fields["kind"].default
    if kind != name:
        METHODS.forget(name)
        raise ConfigError(
            f'the method file {path} is called {name}, so its class needs kind: Literal["{name}"] = "{name}"'
        )
