"""Tiny random models and rows for tests: no download, built in milliseconds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Beside another worker of pytest-xdist a second thread of torch waits more than it works. Before anything imports torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma3_text", "bert", "modernbert")
# Id 0 is an ordinary word and the pad token is not 0, so that "length by input_ids != 0" gives wrong numbers.
WORDS = ("zero", "0", "1", "2", "<pad>", "<unk>", "<eos>", *(f"w{i}" for i in range(53)))


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_developer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Method files that tests name are not noted as known in the developer's own settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEAKSTRONG_CONFIG", str(tmp_path_factory.mktemp("config")))
        yield


def _config(family: str, layers: int, **changes: Any) -> Any:
    from transformers import AutoConfig

    common = {
        "vocab_size": len(WORDS),
        "initializer_range": 0.1,
        "pad_token_id": 4,
        "eos_token_id": 6,
        "bos_token_id": 6,
    }
    usual = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "num_attention_heads": 4,
        "max_position_embeddings": 128,
    }  # fmt: skip
    own: dict[str, dict[str, Any]] = {
        "llama": usual | {"num_key_value_heads": 2, "tie_word_embeddings": False},
        "gpt2": {"n_embd": 32, "n_layer": layers, "n_head": 4, "n_positions": 128},
        "gpt_neox": usual,
        "gemma3_text": usual | {
            "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
        },
        "bert": usual,
        "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": layers, "n_heads": 4},
        "opt": usual | {"ffn_dim": 48, "word_embed_proj_dim": 32},
        "modernbert": usual | {
            "cls_token_id": 6, "sep_token_id": 6, "local_attention": 8, "global_attn_every_n_layers": 2,
        },
    }  # fmt: skip
    return AutoConfig.for_model(family, **common | own[family] | changes)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``tiny_model(family, layers=4, seed=0, **config)``: a folder with random weights, words as tokens."""
    made: dict[str, Path] = {}

    def build(family: str, layers: int = 4, seed: int = 0, **changes: Any) -> Path:
        name = f"{family}-{layers}-{seed}-" + "-".join(f"{k}={v}" for k, v in sorted(changes.items()))
        if name not in made:
            made[name] = tmp_path_factory.mktemp(family)
            _save(made[name], family, layers, seed, changes)
        return made[name]

    return build


def _save(folder: Path, family: str, layers: int, seed: int, changes: dict[str, Any]) -> None:
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedTokenizerFast

    auto = AutoModelForMaskedLM if family in ("bert", "distilbert", "modernbert") else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto.from_config(_config(family, layers, **changes))
        with torch.no_grad():
            for parameter in model.parameters():
                # Norms start as exact ones; noise makes a norm that is left out or applied twice visible.
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>"
    ).save_pretrained(folder)


def toy_rows(count: int, seed: int = 0, noise: float = 0.1) -> tuple[list[str], list[int]]:
    """Texts of 3 to 20 words whose class decides which words are frequent, and labels with some noise."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count) % 2)
    texts = []
    for label in labels:
        length = int(generator.integers(3, 21))
        low, high = (0, 36) if label == 0 else (17, 53)
        texts.append(" ".join(f"w{i}" for i in generator.integers(low, high, length)))
    flipped = np.where(generator.random(count) < noise, 1 - labels, labels)
    return texts, flipped.tolist()


@pytest.fixture(scope="session")
def rows() -> Callable[..., tuple[list[str], list[int]]]:
    """``rows(count, seed=0, noise=0.1)``: texts and labels."""
    return toy_rows


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """An S3 server of this machine, and the settings by which s3fs finds it."""
    from s3_server import s3_server

    with pytest.MonkeyPatch.context() as patch, s3_server(patch) as running:
        yield running


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache for copies of remote stores."""
    monkeypatch.setenv("WEAKSTRONG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["folder", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new store's URL, on the disk and on the S3 server."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"s3://{request.getfixturevalue('server').bucket()}/pre/fix"


@pytest.fixture
def soft_rows(rows: Callable[..., tuple[list[str], list[int]]], tmp_path: Path) -> Path:
    """A file of 64 ``texts`` and ``probs_NC``, 0.9 or 0.2 for class 1 by their labels."""
    texts, labels = rows(64)
    yes = np.where(np.array(labels) == 1, 0.9, 0.2)
    np.savez(tmp_path / "rows.npz", texts=texts, probs_NC=np.stack([1 - yes, yes], 1).astype(np.float32))
    return tmp_path / "rows.npz"


@pytest.fixture(scope="session")
def experiment() -> Callable[..., Any]:
    """``experiment(rng, n_seeds, n_test, means, seed_sd)``: correctness of arms, true scores known."""

    def build(rng: Any, n_seeds: Any, n_test: Any, means: Any, seed_sd: Any) -> Any:
        """Correctness (3, S, N) whose expected scores are exactly ``means``.

        A row is right where a normal variable (40 % of its variance shared by all arms, 40 % by the seeds of
        an arm, 20 % fresh) lies below a threshold that every seed shifts.
        """
        from scipy.special import ndtri

        normal = rng.standard_normal
        shared = np.sqrt(0.4) * (normal((1, 1, n_test)) + normal((3, 1, n_test)))
        hardness = shared + np.sqrt(0.2) * normal((3, n_seeds, n_test))
        score = np.array(means)[:, None] + np.array(seed_sd)[:, None] * normal((3, n_seeds))
        return hardness < ndtri(score)[..., None]

    return build


@pytest.fixture
def arms(experiment: Callable[..., Any]) -> Any:
    """Correctness (3, 5, 300) of supervisor, student and ceiling."""
    return experiment(np.random.default_rng(3), 5, 300, (0.6, 0.7, 0.85), (0.02, 0.02, 0.02))


class Index:
    """A simple index and how it should misbehave."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.json = self.ranges = True
        self.hash: str | None = None  # stated instead of the true one
        self.cuts = 0  # so many answers of a file end early, after half of what is left
        self.delay_s = 0.0
        self.password: str | None = None
        self.requests: list[str] = []
        self.served = 0  # bytes of file bodies
        self.url = ""
        self.big = os.urandom(700_000)  # does not compress, so a cut lies inside it

    def file_requests(self) -> list[str]:
        return [path for path in self.requests if path.startswith("/files/")]

    @staticmethod
    def make_zip(members: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as z:
            for name, data in members.items():
                z.writestr(name, data)
        return out.getvalue()

    @staticmethod
    def make_tar(members: dict[str, bytes], link: str | None = None) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as t:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            if link:
                info = tarfile.TarInfo(link)
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                t.addfile(info)
        return out.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """A package index on 127.0.0.1, and pip settings and an empty cache that point at it."""
    from weakstrong import downloads

    state = Index()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.path.startswith("/files/"):
                if state.cuts > 0:
                    state.cuts -= 1
                    body = body[: len(body) // 2]
                state.served += len(body)
            self.wfile.write(body)

        def do_GET(self) -> None:
            state.requests.append(self.path)
            if state.password and not self.headers.get("Authorization"):
                return self.send(401, b"", {})
            if found := re.fullmatch(r"/simple/([\w.-]+)/", self.path):
                return self.page(found[1])
            data = state.files.get(self.path.removeprefix("/files/"))
            if data is None:
                return self.send(404, b"", {})
            time.sleep(state.delay_s)
            tag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
            span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) if state.ranges else None
            if span and self.headers.get("If-Range", tag) == tag:
                start = int(span[1])
                where = f"bytes {start}-{len(data) - 1}/{len(data)}"
                return self.send(206, data[start:], {"ETag": tag, "Content-Range": where})
            return self.send(200, data, {"ETag": tag})

        def page(self, project: str) -> None:
            mine = {n: d for n, d in state.files.items() if n.lower().replace("_", "-").startswith(project)}
            if not mine:
                return self.send(404, b"", {})
            hashes = {n: state.hash or hashlib.sha256(d).hexdigest() for n, d in mine.items()}
            if state.json and "json" in self.headers["Accept"]:
                files = [
                    {"filename": n, "url": f"../../files/{n}", "hashes": {"sha256": hashes[n]}} for n in mine
                ]
                kind = "application/vnd.pypi.simple.v1+json"
                return self.send(200, json.dumps({"files": files}).encode(), {"Content-Type": kind})
            links = "".join(f'<a href="../../files/{n}#sha256={h}">{n}</a>' for n, h in hashes.items())
            return self.send(200, f"<html>{links}</html>".encode(), {"Content-Type": "text/html"})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/simple"
    for name in list(os.environ):
        if name.startswith("PIP_") or name.lower().endswith("_proxy") or name.endswith("_OFFLINE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", state.url)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WEAKSTRONG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "BACKOFF_S", 0.0)
    state.files["my_data-1.0-py3-none-any.whl"] = state.make_zip(
        {
            "my_data/big.bin": state.big,
            "my_data/model/a.json": b"{}",
            "my_data/model/sub/b.txt": b"b",
            "other": b"o",
        }
    )
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it to make every later connection or name look-up fail the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the network was touched")

    def switch_off() -> None:
        monkeypatch.setattr(socket, "socket", refuse)
        monkeypatch.setattr(socket, "create_connection", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    return switch_off
