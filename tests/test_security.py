"""Nothing that we read runs: no pickle, no code of a model, a data set, a package or somebody else's store.

What is attacked here is what people download: model folders, data sets, stores. See docs/security.md.
"""

from __future__ import annotations

import ast
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hub_mirror import HubMirror

import weakstrong
from weakstrong.data import read_probabilities
from weakstrong.errors import ConfigError, DataError, ModelError
from weakstrong.models._load import load_backbone, load_classifier
from weakstrong.models.base import parse_model
from weakstrong.predict import predict
from weakstrong.tasks import parse_task
from weakstrong.tasks._files import DataFile, records
from weakstrong.tasks.file import read_frame

Tiny = Callable[..., Path]
PACKAGE = Path(weakstrong.__file__).parent

# --- what the package's own code may not do

IMPORTS = {
    "pickle",
    "_pickle",
    "cloudpickle",
    "joblib",
    "dill",
    "shelve",
    "marshal",
    "torch.distributed.checkpoint",
}
CALLS = {
    *("eval", "exec", "compile", "__import__", "torch.load", "read_pickle", "load_state", "load_checkpoint"),
    *(
        "yaml.load",
        "yaml.load_all",
        "yaml.unsafe_load",
        "yaml.full_load",
        "os.system",
        "os.popen",
        "extractall",
    ),
    *("pickle.load", "ssl._create_unverified_context", "tempfile.mktemp", "runpy.run_path"),
}
FLAGS = {"allow_pickle": True, "shell": True, "trust_remote_code": True, "weights_only": False, "verify": False, "autoescape": False}  # fmt: skip


def unsafe(source: str) -> list[str]:
    """Every import, call and flag of ``source`` that could run what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name in IMPORTS or a.name.partition(".")[0] in IMPORTS]
        elif isinstance(node, ast.ImportFrom):
            names = {node.module or "", *(f"{node.module}.{a.name}" for a in node.names)}
            found += sorted(n for n in names if n in IMPORTS or n.partition(".")[0] in IMPORTS)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            last = name.rpartition(".")[2]
            # re.compile and model.eval are other things than the builtins.
            found += [name] if name in CALLS or last in CALLS - {"eval", "exec", "compile"} else []
            given = {k.arg: k.value for k in node.keywords}
            found += [
                f"{flag}={value}"
                for flag, value in FLAGS.items()
                if isinstance(given.get(flag), ast.Constant) and given[flag].value is value
                # There it means that a key is looked for, and not tried.
                if (name, flag) != ("wandb.login", "verify")
            ]
            if last == "from_pretrained" and "trust_remote_code" not in given:
                found.append(f"{name} without trust_remote_code")
            if (
                name.startswith("AutoModel")
                and last == "from_pretrained"
                and not {"use_safetensors", "gguf_file"} & set(given)
            ):
                found.append(f"{name} without use_safetensors")
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix()
)
def test_no_file_of_the_package_can_run_what_it_reads(path: Path) -> None:
    """One torch.load of a downloaded or stored file gives whoever wrote it this machine."""
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    ["import pickle", "from joblib import load", "import torch.distributed.checkpoint as dcp", "torch.load(p)",
     "numpy.load(p, allow_pickle=True)", "pd.read_pickle(p)", "yaml.load(t, Loader=L)", "eval(t)", "os.system(t)",
     "subprocess.run(t, shell=True)", "accelerator.load_state(p)", "tar.extractall(p)",
     "requests.get(u, verify=False)",
     "AutoTokenizer.from_pretrained(p)", "AutoModel.from_pretrained(p, trust_remote_code=False)"],
)  # fmt: skip
def test_the_reader_of_code_sees_every_form(line: str) -> None:
    """A walk that overlooks a form proves nothing."""
    assert unsafe(line)


# --- pickles


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that the bombs make; no pickle is opened either, which torch does before it refuses."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a pickle was opened")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, refuse)
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists()


def save(folder: Path, name: str, mark: Path) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"weight": Bomb(mark)}, folder / name)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def copied(tiny_model: Tiny, target: Path, family: str = "llama") -> Path:
    target.mkdir()
    for path in tiny_model(family, layers=2).iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def only_a_pickle(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    save(folder, "pytorch_model.bin", mark)


def an_index_that_names_a_pickle(folder: Path, mark: Path) -> None:
    from weakstrong.models._weights import tensor_shapes

    names = tensor_shapes(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    save(folder, "shard.bin", mark)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "shard.bin")})
    )


def an_index_that_leaves_the_folder(folder: Path, mark: Path) -> None:
    an_index_that_names_a_pickle(folder, mark)
    text = (folder / "model.safetensors.index.json").read_text()
    (folder / "model.safetensors.index.json").write_text(text.replace("shard.bin", "../x.safetensors"))


def a_config_that_names_a_pickle(folder: Path, mark: Path) -> None:
    save(folder, "adapter_model.bin", mark)
    change(folder / "config.json", transformers_weights="adapter_model.bin")


def an_adapter(folder: Path, mark: Path) -> None:
    save(folder, "adapter_model.bin", mark)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "a/b"}')


def attention_code_of_the_hub(folder: Path, mark: Path) -> None:
    change(folder / "config.json", _attn_implementation="somebody/attention")


def only_gguf(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.gguf")


HOSTILE = {
    only_a_pickle: "pickled weights are never loaded",
    an_index_that_names_a_pickle: r"takes weights from 'shard\.bin'",
    an_index_that_leaves_the_folder: r"takes weights from '\.\./x",
    a_config_that_names_a_pickle: r"takes its weights from 'adapter_model\.bin'",
    an_adapter: "holds an adapter",
    attention_code_of_the_hub: "asks for the attention code 'somebody/attention'",
    only_gguf: r"no \.safetensors weights",
}


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda a: a.__name__)
def test_a_hostile_model_folder_is_refused(
    attack: Callable[[Path, Path], None], tiny_model: Tiny, tmp_path: Path, mark: Path
) -> None:
    """transformers follows what a folder's JSON says, to a pickle, to other weights, to code on the hub."""
    good = copied(tiny_model, tmp_path / "good")
    spec, folder = parse_model(str(good)), copied(tiny_model, tmp_path / "evil")
    attack(folder, mark)
    for load in (
        lambda: predict(folder, ["w1"]),
        lambda: load_backbone(parse_model(str(folder)), torch.float32),
        # Weights that a step has tuned lie in the store, and a store may come from anybody.
        lambda: load_classifier(spec, ("a", "b"), "zeros", 0.0, 0, folder),
    ):
        with pytest.raises(ModelError, match=HOSTILE[attack]):
            load()


def test_pickles_beside_good_weights_are_not_opened(tiny_model: Tiny, tmp_path: Path, mark: Path) -> None:
    """Folders of a Trainer hold an optimizer, arguments and a copy of the weights as pickles."""
    folder = copied(tiny_model, tmp_path / "model")
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin", "rng_state.pth", "adapter_model.bin",
                 "tokenizer.pkl", "vocab.pkl", "added_tokens.bin", "sub/pytorch_model.bin"):  # fmt: skip
        save(folder, name, mark)
    found, _ = load_backbone(parse_model(str(folder)), torch.float32)
    wanted, _ = load_backbone(parse_model(str(tiny_model("llama", layers=2))), torch.float32)
    for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(one, other)


def test_stored_files_of_another_form_are_not_unpickled(tmp_path: Path, mark: Path) -> None:
    """A result whose tables are pickles under the right names, with a record that agrees with them."""
    from safetensors.numpy import load_file

    for name in ("probabilities.parquet", "head.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(pa.ArrowInvalid):
        read_probabilities(tmp_path / "probabilities.parquet")
    with pytest.raises(Exception, match=r"(?i)header"):
        load_file(tmp_path / "head.safetensors")


def pickled_types(mark: Path) -> pa.Table:
    """A table whose schema says, as pyarrow before 14.0.1 read it, that a column's type is in a pickle."""
    type_of = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Bomb(mark)),
    }
    fields = [pa.field("text", pa.string(), metadata=type_of), pa.field("label", pa.string())]
    about = {"pandas": json.dumps({"index_columns": [], "columns": [], "creator": {"library": "pickle"}})}
    return pa.table([["w1 w2", "w3"], ["a", "b"]], pa.schema(fields, metadata=about))


def test_parquet_and_arrow_with_pickled_types(tmp_path: Path, mark: Path) -> None:
    """CVE-2023-47248: a Parquet file that ran code when it was opened."""
    pq.write_table(pickled_types(mark), tmp_path / "rows.parquet")
    assert read_frame(tmp_path / "rows.parquet")["text"].to_list() == ["w1 w2", "w3"]
    assert [r["label"] for r in records(DataFile(tmp_path / "rows.parquet"))] == ["a", "b"]
    folder = tmp_path / "saved"
    folder.mkdir()
    with (
        pa.OSFile(str(folder / "data.arrow"), "wb") as out,
        pa.ipc.new_stream(out, pickled_types(mark).schema) as writer,
    ):
        writer.write_table(pickled_types(mark))
    (folder / "state.json").write_text(json.dumps(
        {"_data_files": [{"filename": "data.arrow"}], "_fingerprint": "0", "_format_columns": None,
         "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None}
    ))  # fmt: skip
    (folder / "dataset_info.json").write_text("{}")
    assert read_frame(folder)["text"].to_list() == ["w1 w2", "w3"]


def test_loading_scripts_of_data_sets_do_not_run(tmp_path: Path, mark: Path) -> None:
    """Data sets used to bring a script that made their rows."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("rows.py", "__init__.py", "conftest.py", "train.py"):
        (folder / name).write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()")
    with pytest.raises(DataError, match="not a data set folder"):
        read_frame(folder)
    with pytest.raises(ConfigError, match="holds none of the original files"):
        parse_task({"kind": "boolq", "data_dir": str(folder)})
    line = {"question": "is it", "title": "t", "answer": True, "passage": "yes it is"}
    (folder / "train.jsonl").write_text(json.dumps(line) + "\n")
    assert len(parse_task({"kind": "boolq", "data_dir": str(folder)}).load().table) == 1


# --- code of models


def bring_code(folder: Path, mark: Path, where: str) -> None:
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass C: pass\n")
    if where == "config":
        change(
            folder / "config.json", model_type="evil",
            auto_map=dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "evil.C"),
        )  # fmt: skip
    else:
        change(
            folder / "tokenizer_config.json",
            tokenizer_class="Evil",
            auto_map={"AutoTokenizer": ["evil.C", "evil.C"]},
        )


@pytest.fixture
def always_yes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Somebody, or a pipe, that answers yes to what transformers asks; and a place of our own for its modules."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.mark.usefixtures("always_yes")
@pytest.mark.parametrize("where", ["config", "tokenizer"])
def test_code_of_a_model_does_not_run(where: str, tiny_model: Tiny, tmp_path: Path) -> None:
    """Left to its default, trust_remote_code asks on standard input, where a script's `yes |` or data may answer."""
    mark, folder = tmp_path / "mark", copied(tiny_model, tmp_path / "model")
    bring_code(folder, mark, where)
    for load in (
        lambda: predict(folder, ["w1"]),
        lambda: load_backbone(parse_model(str(folder)), torch.float32),
        lambda: load_classifier(parse_model(str(folder)), ("a", "b"), "auto", 0.0, 0),
    ):
        with pytest.raises(ModelError, match="Python code of its own"):
            load()
    assert not mark.exists()
    with pytest.raises(
        Exception, match="C"
    ):  # allowed by name, it runs: what was refused is what would have run
        load_backbone(parse_model(str(folder), trust_remote_code=True), torch.float32)
    assert mark.exists()


@pytest.mark.usefixtures("always_yes")
def test_code_and_pickles_of_a_hub_model_are_not_even_fetched(
    tiny_model: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in the cache is one careless call away from being run."""
    mark, folder = tmp_path / "mark", copied(tiny_model, tmp_path / "model")
    bring_code(folder, mark, "config")
    save(folder, "pytorch_model.bin", mark)
    save(folder, "tokenizer.pkl", mark)
    mirror = HubMirror(tmp_path / "hub")
    try:
        mirror.use(monkeypatch, tmp_path / "home")
        mirror.publish("org/evil", "main", {p.name: p.read_bytes() for p in folder.iterdir()})
        spec = parse_model("hub:org/evil@main")
        with pytest.raises(ModelError, match="Python code of its own"):
            load_backbone(spec, torch.float32)
    finally:
        mirror.stop()
    assert "model.safetensors" in mirror.files_asked_for()
    assert not {"evil.py", "pytorch_model.bin", "tokenizer.pkl"} & mirror.files_asked_for()
    assert not mark.exists()


def test_a_revision_reads_no_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hub:org/name@../../secret would put a file's words into the spec, and so into the store and the page."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("WEAKSTRONG_OFFLINE", "1")
    (tmp_path / "hub" / "models--org--name" / "refs").mkdir(parents=True)
    (tmp_path / "secret").write_text("planted")
    with pytest.raises(Exception, match="not cached") as caught:
        parse_model("hub:org/name@../../../secret")
    assert "planted" not in str(caught.value)
