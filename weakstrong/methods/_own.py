"""Methods in a user's own file, outside the package."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from weakstrong.errors import ConfigError
from weakstrong.methods.base import METHODS, Method

_PACKAGE = "weakstrong_own_methods"
_loaded: dict[str, str] = {}  # name -> SHA-256 of the file that is registered under it


def own_method(values: dict[str, object]) -> Method:
    """The method of the file ``values["file"]``; its code is run, so name only files that you trust.

    Raises:
        ConfigError: if the file is missing, changed since ``values["sha256"]``, raises, or registers no method.
    """
    path = Path(str(values["file"])).expanduser()
    name = path.stem.replace("_", "-")
    if not path.is_file():
        raise ConfigError(f"the method file {path} does not exist")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    wanted = values.get("sha256") or sha256
    if sha256 != wanted:
        raise ConfigError(
            f"the method file {path} has changed since (SHA-256 {sha256[:12]}, recorded {str(wanted)[:12]}); "
            "run it anew, or put the old file back"
        )
    if _loaded.get(name) != sha256:
        _load(path, name)
        _loaded[name] = sha256
    return METHODS.get(name).parse(values | {"kind": name, "sha256": sha256}, f"method {name}")


def _load(path: Path, name: str) -> None:
    if _loaded.pop(name, None) is not None:
        METHODS.forget(name)
    elif name in METHODS.names():
        raise ConfigError(f"{path}: {name} is a method of the package already; rename the file")
    module_name = f"{_PACKAGE}.{path.stem}"
    found = importlib.util.spec_from_file_location(module_name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module_name] = module  # annotations are looked up there
    try:
        found.loader.exec_module(module)
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
