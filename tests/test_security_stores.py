"""Somebody else's store, and our own secrets: what a store names does not run, and what is secret is not written down."""

from __future__ import annotations

import hashlib
import importlib._bootstrap_external as import_files
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from weakstrong.errors import ConfigError, StoreError
from weakstrong.experiment import Experiment
from weakstrong.methods import METHODS, parse_method
from weakstrong.methods import _own as own
from weakstrong.redact import values_without_secrets, without_credentials, without_secrets
from weakstrong.remembered import remember, remembered
from weakstrong.store import Store
from weakstrong.tasks import parse_task

Tiny = Callable[..., Path]

# --- methods that a store names

METHOD = """from pathlib import Path
from typing import Literal
from weakstrong.methods import METHODS, Method
Path({mark!r}).touch()

@METHODS.register
class Evil(Method):
    kind: Literal["evil"] = "evil"
"""


@pytest.fixture
def method_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A method file, and a user who has never named one; ``forget`` is a new process."""
    monkeypatch.setenv("WEAKSTRONG_CONFIG", str(tmp_path / "config"))
    path = tmp_path / "evil.py"
    path.write_text(METHOD.format(mark=str(tmp_path / "mark")))
    yield path
    forget()


def forget() -> None:
    METHODS.forget("evil")
    own._loaded.pop("evil", None)


def foreign_store(tmp_path: Path, method_file: Path, tiny: Path) -> Store:
    """A store that says of itself that it was made by the method file, with the right digest."""
    store = Store(tmp_path / "store")
    (tmp_path / "rows.csv").write_text("text,label\na,0\nb,1\n")
    task = {"kind": "file", "path": str(tmp_path / "rows.csv")}
    axes = {"task": task, "supervisors": str(tiny), "students": f"{tiny}::1"}
    remember(store, Experiment.parse(axes | {"methods": "naive"}))
    values = Experiment.parse(axes | {"methods": "naive"}).to_dict()
    sha256 = hashlib.sha256(method_file.read_bytes()).hexdigest()
    values["methods"] = [{"kind": "evil", "file": str(method_file), "sha256": sha256}]
    (tmp_path / "store" / ".experiments" / "0.json").write_text(json.dumps(values))
    return store


def test_a_store_runs_no_method_file_that_the_user_has_not_named(
    method_file: Path, tmp_path: Path, tiny_model: Tiny
) -> None:
    """`w2s results` on a downloaded store ran any Python file that the store named; its digest lay beside the name."""
    store, mark = foreign_store(tmp_path, method_file, tiny_model("llama", layers=2)), tmp_path / "mark"
    with pytest.warns(UserWarning, match=r"(?s)left out: .*not run here before.*w2s methods .*evil\.py"):
        assert [e.methods[0].name for e in remembered(store)] == ["naive"]
    assert not mark.exists()
    parse_method(str(method_file))  # the user names it
    assert mark.exists()
    forget()
    assert {e.methods[0].name for e in remembered(store)} == {"naive", "evil"}
    mark.unlink()
    forget()
    method_file.write_text(method_file.read_text() + "\n")
    foreign_store(tmp_path, method_file, tiny_model("llama", layers=2))
    with pytest.warns(UserWarning, match="not run here before"):
        remembered(store)
    assert not mark.exists()


def test_a_damaged_note_of_an_experiment_hides_no_other(
    method_file: Path, tmp_path: Path, tiny_model: Tiny
) -> None:
    """A file that was cut short in a copied store must not end in a traceback."""
    store = foreign_store(tmp_path, method_file, tiny_model("llama", layers=2))
    (tmp_path / "store" / ".experiments" / "0.json").write_text('{"kind": "exp')
    with pytest.warns(UserWarning, match="left out"):
        assert len(remembered(store)) == 1


def test_what_runs_is_what_was_hashed(method_file: Path, tmp_path: Path) -> None:
    """A compiled file in __pycache__ beside a harmless source, with its time and size, ran instead of it."""
    evil = compile(method_file.read_text(), str(method_file), "exec")
    method_file.write_text(METHOD.replace("Path({mark!r}).touch()", "").format())
    cached = Path(import_files.cache_from_source(str(method_file)))
    cached.parent.mkdir()
    about = method_file.stat()
    cached.write_bytes(import_files._code_to_timestamp_pyc(evil, int(about.st_mtime), about.st_size))
    assert parse_method(str(method_file)).name == "evil"
    assert not (tmp_path / "mark").exists()
    assert os.listdir(cached.parent) == [cached.name]


# --- secrets

PLANTED = {
    "HF_TOKEN": "hf_plantedtoken1",
    "WANDB_API_KEY": "plantedwandb1234",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+secret",
    "RAY_AUTH_TOKEN": "plantedraytoken1",
}
LEAKY = """import os
from typing import ClassVar, Literal
from weakstrong.methods import METHODS, Method

@METHODS.register
class Leaky(Method):
    source: ClassVar[str] = "ours"
    sets: ClassVar[frozenset[str]] = frozenset({"labels"})
    kind: Literal["leaky"] = "leaky"

    def relabel(self, weak_NC, generator):
        url = "https://user:plantedpassword@host/x?X-Amz-Signature=plantedsignature"
        raise RuntimeError(f"no answer from {url} to " + " ".join(os.environ[n] for n in %r))
"""
ODD = "</script><img src=x onerror=alert(1)>"


def w2s(*arguments: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, with planted secrets, an index nobody answers at, and a home of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "HF_", "WEAKSTRONG_"))}
    own_home = {"WEAKSTRONG_CONFIG": str(cwd / "config"), "WEAKSTRONG_CACHE": str(cwd / "cache"), "CI": "1"}
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://user:plantedpassword@127.0.0.1:9/simple"}
    return subprocess.run(
        [sys.executable, "-c", "from weakstrong.cli import main; main()", *map(str, arguments)],
        cwd=cwd, env=kept | own_home | index | PLANTED | env, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


class Elements(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_real_run_writes_no_secret_and_no_script(tiny_model: Tiny, tmp_path: Path) -> None:
    """Records, notes, logs and the page are shared; a token in an error message is in all of them.

    A step that fails with everything in its words, a download that fails, a data file at a URL; the class names, the
    file name and the experiment's are hostile too, and the method is the user's own, so `results` may run it.
    """
    models = tiny_model("llama", layers=1), tiny_model("llama", layers=2)
    (tmp_path / "leaky.py").write_text(LEAKY % sorted(PLANTED))
    texts = [f"w{i % 13} w{i % 7} w{i % 5} {i}" for i in range(160)]
    labels = [("good", ODD)[i % 13 < 6] for i in range(160)]
    pl.DataFrame({"text": texts, "label": labels}).write_csv(tmp_path / "<b onclick=alert(1)>.csv")
    (tmp_path / "e.yaml").write_text(json.dumps({
        "name": ODD, "task": "file:<b onclick=alert(1)>.csv", "supervisors": str(models[0]),
        "students": str(models[1]), "methods": ["naive", "leaky.py"], "seeds": 1,
    }))  # fmt: skip
    ran = w2s("run", "e.yaml", "--store", "s", cwd=tmp_path)
    assert ran.returncode == 1, ran.stderr
    assert "RuntimeError: no answer from https://host/x?… to *** *** *** ***" in ran.stderr
    said = [ran, w2s("status", "--store", "s", cwd=tmp_path)]
    said.append(w2s("results", "--store", "s", "--format", "csv", cwd=tmp_path))
    assert len(said[-1].stdout.splitlines()) == 3, said[
        -1
    ].stderr  # a user's own store with the user's own method
    said.append(w2s("results", "--store", "s", cwd=tmp_path, WEAKSTRONG_CONFIG=str(tmp_path / "other")))
    assert "not run here before" in said[-1].stderr
    assert "leaky" not in said[-1].stdout
    said.append(w2s("run", "--task", "movie-snippets", "--store", "s", cwd=tmp_path))
    assert "127.0.0.1:9/simple" in said[-1].stderr
    said.append(w2s("run", "--task", "file:https://user:plantedpassword@host/x.csv", cwd=tmp_path))
    assert "does not exist" in said[-1].stderr
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "leaky.py"]
    assert len(files) > 20
    written = "".join(p.read_bytes().decode("utf-8", "replace") for p in files)
    for text in (written, *(s.stdout + s.stderr for s in said)):
        assert "planted" not in text
        assert not [value for value in PLANTED.values() if value in text]
    page = Elements((tmp_path / "s" / "report.html").read_text())
    assert [tag for tag, _ in page.found if tag in ("script", "img", "b")] == ["script", "script"]
    assert not [name for _, attrs in page.found for name in attrs if name.startswith("on")]


@pytest.mark.parametrize(
    "url", ["s3://AKIAPLANTED:planted/secret@bucket/x", "memory://user:plantedpassword@host/x"]
)
def test_a_store_url_with_a_password_is_refused(url: str, tmp_path: Path) -> None:
    """The URL of a store is printed, noted and handed to workers."""
    with pytest.raises((ConfigError, StoreError), match="password") as caught:
        Store(url)
    assert "planted" not in str(caught.value).lower()


def test_half_a_password_is_not_left(tmp_path: Path) -> None:
    """Messages cut long values short: before the @ of a URL, what was cut no longer looks like a password."""
    url = f"https://user:planted{'x' * 100}@host/x.csv"
    for value in (
        f"file:{url}",
        {"kind": "file", "path": url, "planted": 1},
        {"kind": "file", "path": [url]},
    ):
        with pytest.raises(ConfigError) as caught:
            parse_task(value)
        assert "xxx" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("s3://KEY:ab/cd+e@bucket/x", "s3://bucket/x"),
        ("s3://KEY:/12@bucket", "s3://bucket"),
        ("https:/me:secret@host/x.csv does not exist", "https:/host/x.csv does not exist"),
        ("https://ghp_token@host/simple", "https://host/simple"),
        ("for url: https://cdn/x?Signature=1&Key=2 (403)", "for url: https://cdn/x?… (403)"),
        ("['https://a:b@c/d', 'https://e:f@g/h']", "['https://c/d', 'https://g/h']"),
        # what is none stays
        ("hub:org/name@main http://127.0.0.1:8000/a/@b", "hub:org/name@main http://127.0.0.1:8000/a/@b"),
        (
            "abfs://box@account/x C:/a@b http://[::1]:80/x@y",
            "abfs://box@account/x C:/a@b http://[::1]:80/x@y",
        ),
    ],
)
def test_credentials_are_cut_out_of_urls(text: str, wanted: str) -> None:
    """A form of URL that is overlooked, or a message that loses words that were no secret."""
    assert without_credentials(text) == wanted
    assert str(StoreError(text)) == wanted


def test_values_of_secret_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that quotes the header it sent; or a variable that is no secret and tears holes into words."""
    for name, value in {"MY_TOKEN": "abcdefgh", "AWS_ACCESS_KEY_ID": "AKIA12345678", "TOKENIZERS_PARALLELISM": "disabled",
                        "HF_TOKEN_PATH": "/home/me/token", "DB_PASSWORD": "true"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    text = "abcdefgh AKIA12345678 disabled /home/me/token true"
    assert without_secrets(text) == "*** *** disabled /home/me/token true"
    monkeypatch.setenv("PIN_SECRET", "12345678")
    values = [{"rows": 12345678, "abcdefgh": ["12345678", None, 'a "http://h/?q=1" b']}]
    assert values_without_secrets(values) == [{"rows": 12345678, "***": ["***", None, 'a "http://h/?…" b']}]
