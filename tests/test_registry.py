"""One name, one file, one entry; nothing is imported before it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import weakstrong
from weakstrong.errors import ConfigError, UnknownNameError
from weakstrong.methods import METHODS
from weakstrong.models import MODELS
from weakstrong.registry import Registry
from weakstrong.tasks import TASKS

REGISTRIES = [METHODS, MODELS, TASKS]


@pytest.fixture
def plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Registry[type]:
    """A registry over a fresh package with one good file, one that registers twice and one that forgets to."""
    package = f"plugins_{abs(hash(request.node.name))}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(
        "from weakstrong.registry import Registry\n"
        f"THINGS = Registry('thing', '{package}', __file__, 'Write one file.')\n"
    )
    start = f"from {package}.base import THINGS\n"
    (folder / "good_one.py").write_text(start + "@THINGS.register\nclass Good: pass\n")
    (folder / "twice.py").write_text(
        start + "@THINGS.register\nclass A: pass\n@THINGS.register\nclass B: pass\n"
    )
    (folder / "forgets.py").write_text("class C: pass\n")
    (folder / "_private.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    things: Registry[type] = __import__(f"{package}.base").base.THINGS
    return things


def test_names_are_file_names(plugins: Registry[type]) -> None:
    """Bases and private files are not entries."""
    assert plugins.names() == ["forgets", "good-one", "twice"]
    assert plugins.get("good-one").__name__ == "Good"


def test_two_entries_of_one_name_are_refused(plugins: Registry[type]) -> None:
    """The later one would silently win."""
    with pytest.raises(ConfigError, match=r"thing 'twice' is registered twice"):
        plugins.get("twice")


def test_registering_the_same_entry_again_is_harmless(plugins: Registry[type]) -> None:
    """A decorated class handed to `register` once more is no clash."""
    good = plugins.get("good-one")
    assert plugins.register(good) is good


def test_a_file_that_registers_nothing_is_named(plugins: Registry[type]) -> None:
    """A forgotten decorator must not end in a bare KeyError."""
    with pytest.raises(ConfigError, match=r"forgets registers no thing"):
        plugins.get("forgets")


def test_a_name_from_another_package_is_refused(plugins: Registry[type]) -> None:
    """A name must never become an import of an arbitrary module."""
    for name in ("base", "_private", "..os", "good_one", ""):
        with pytest.raises(UnknownNameError):
            plugins.get(name)


def test_close_matches_are_offered(plugins: Registry[type]) -> None:
    """A typo should cost one look at the message."""
    with pytest.raises(
        UnknownNameError, match=r"unknown thing 'god-one': did you mean good-one\? Write one file\."
    ):
        plugins.get("god-one")
    with pytest.raises(UnknownNameError, match=r"known: forgets, good-one, twice"):
        plugins.get("zzzzzzzzzz")


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.noun)
def test_every_entry_comes_from_the_file_of_its_name(registry: Registry[type]) -> None:
    """An entry imported into another entry's file would be filed under the wrong name."""
    for name in registry.names():
        assert registry.get(name).__module__ == f"{registry.package}.{name.replace('-', '_')}"


def test_listing_names_imports_nothing() -> None:
    """`w2s methods` and shell completion would otherwise pay for torch and for every entry's imports."""
    code = (
        "import sys\n"
        "from weakstrong.methods import METHODS\nfrom weakstrong.models import MODELS\nfrom weakstrong.tasks import TASKS\n"
        "before = set(sys.modules)\n"
        "assert all(len(r.names()) > 1 for r in (METHODS, MODELS, TASKS))\n"
        "print(*sorted(set(sys.modules) - before))\n"
        "print(*sorted({'torch', 'transformers', 'polars', 'datasets'} & set(sys.modules)))\n"
        "print(*sorted(m for m in sys.modules if m.startswith(('weakstrong.methods.', 'weakstrong.models.'))"
        " and m.rsplit('.')[-1] not in ('base', '_own', '_weights')))\n"
    )
    env = os.environ | {"PYTHONPATH": str(Path(weakstrong.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
