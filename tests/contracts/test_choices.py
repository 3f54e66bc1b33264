"""Labels, combinations and methods of a user's own file.

Legend: N rows, C classes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weakstrong.cli.axes import _list_of
from weakstrong.errors import ConfigError, UnknownNameError
from weakstrong.experiment import Experiment
from weakstrong.methods import METHODS, parse_method
from weakstrong.methods import _own as own
from weakstrong.methods._combined import combine
from weakstrong.models.base import parse_model
from weakstrong.remembered import remember, remembered
from weakstrong.store import Store
from weakstrong.training.spec import Finetune, Generative, Lora, Probe


def weak(rows: int, classes: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), rows).astype(np.float32)


def relabel(method: str, weak_NC: Any, seed: int = 0) -> Any:
    return parse_method(method).relabel(weak_NC, np.random.default_rng(seed))


def test_hard_labels_are_the_likeliest_class() -> None:
    """argmax over the wrong axis, or rows that get lost."""
    weak_NC = weak(50, 3)
    hard_NC, keep_N = relabel("hard", weak_NC)
    assert keep_N.all()
    assert [row.index(1.0) for row in hard_NC.tolist()] == [row.index(max(row)) for row in weak_NC.tolist()]
    assert hard_NC.dtype == np.float32


def test_noise_hits_its_share_and_leaves_the_rest_alone() -> None:
    """A draw per row hits another share each seed; noise in place corrupts the stored labels."""
    weak_NC = weak(1000, 3)
    before, (noisy_NC, keep_N) = weak_NC.copy(), relabel("noise:share=0.3", weak_NC, 1)
    assert np.array_equal(weak_NC, before)
    assert np.array_equal(noisy_NC, relabel("noise:share=0.3", weak_NC, 1)[0])
    hit_N = (noisy_NC != weak_NC).any(1)
    assert (hit_N.sum(), keep_N.all(), *np.unique(noisy_NC[hit_N])) == (300, True, 0.0, 1.0)
    assert np.bincount(noisy_NC[hit_N].argmax(1)).min() > 70
    assert not np.array_equal(relabel("noise:share=0.3", weak_NC, 2)[0], noisy_NC)


@pytest.mark.parametrize(("share", "classes"), [(0.05, 2), (0.2, 3), (1.0, 3)])
def test_threshold_keeps_the_surest_of_each_class(share: float, classes: int) -> None:
    """Over all classes at once, a supervisor that is surer of one class leaves only that class."""
    weak_NC = weak(300, classes, 3)
    weak_NC[:, 0] += 0.5  # much surer of class 0
    weak_NC /= weak_NC.sum(1, keepdims=True)
    same_NC, keep_N = relabel(f"threshold:share={share}", weak_NC)
    assert np.array_equal(same_NC, weak_NC)
    for c in range(classes):
        rows = [i for i in range(300) if weak_NC[i].argmax() == c]
        best = sorted(rows, key=lambda i: -weak_NC[i].max())[: int(np.ceil(share * len(rows)))]
        assert set(best) == {i for i in rows if keep_N[i]}


def test_threshold_keeps_one_row_of_a_rare_class() -> None:
    """A class without a row cannot be learnt."""
    weak_NC = np.array([[0.9, 0.1]] * 30 + [[0.4, 0.6]], np.float32)
    assert relabel("threshold:share=0.05", weak_NC)[1].tolist() == [True] * 2 + [False] * 28 + [True]


def test_parts_make_their_choices_together() -> None:
    """A combination that forgets a part silently runs another experiment."""
    method = combine(
        "hard", "threshold:share=0.5", "generative:rows=7", "entropy", "early-stop:on=last", "bootstrapping",
        "ema:decay=0.5", "regularised:dropout=0.2", "lora:rank=3", "consistency",
    )  # fmt: skip
    weak_NC = weak(40, 2)
    labels_NC, keep_N = method.relabel(weak_NC, np.random.default_rng(0))
    assert set(np.unique(labels_NC)) == {0.0, 1.0}
    assert 20 <= keep_N.sum() <= 21
    assert method.start == Generative(rows=7)
    assert [method.starts(a) for a in ("student", "ceiling", "supervisor")] == [True, True, False]
    assert method.stop == "last"
    assert method.view is not None
    trained = method.prepare(Finetune())
    changes = {"ema": 0.5, "dropout": 0.2, "weight_decay": 0.1, "lora": Lora(rank=3), "learning_rate": 5e-4}
    assert trained == Finetune().model_copy(update=changes)
    assert method.sets >= {"labels", "start", "objective", "stop", "through", "weights", "view"}
    both, plain = combine("calibrated", "confidence"), combine("hard", "entropy")
    assert [x for m in (both, plain) for x in (m.calibrates, m.rowwise)] == [True, False, False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [("confidence+entropy", "both set the objective"), ("generative+lp-ft", "both set the start"),
     ("zero-shot+confidence", "zero-shot does not train a student, so nothing can be combined"),
     ("confidence+few-shot", "few-shot does not train a student"), ("consistency+consistency", "both set the view"),
     ("ema+ema:decay=0.5", "ema is named twice; give it once"), ("hard+hard", "hard is named twice"),
     ("early-stop+early-stop:on=last", "both set the stop"),
     ("bootstrapping+bootstrapping:rounds=1", "both set the through")],
)  # fmt: skip
def test_choices_that_clash_are_refused(text: str, words: str) -> None:
    """The last one winning without a word is the worst outcome."""
    with pytest.raises(ConfigError, match=words):
        parse_method(text)


@pytest.mark.parametrize(
    "text",
    ["confidence:a_max=0.5+hard", "bootstrapping:through=smollm2-135m:8,through=smollm2-135m:15",
     "threshold:share=0.1+noise:share=1e-05+ema", "bootstrapping:fresh=True+confidence",
     "generative:learning_rate=1e-05,ceiling=False+product", "few-shot:k=3,labels=truth"],
)  # fmt: skip
def test_names_of_combinations_rebuild_them(text: str) -> None:
    """A name in a table that does not parse back cannot be repeated."""
    method = parse_method(text)
    assert method.name == text
    assert parse_method(method.to_dict()) == method
    assert parse_method(method.to_dict()).key() == method.key()
    assert Experiment.from_yaml(experiment(text).to_yaml()).methods == (method,)


def experiment(method: str) -> Experiment:
    axes = {"task": "movie-snippets", "supervisors": "minilm-l6", "students": "smollm2-135m:22"}
    return Experiment.parse(axes | {"methods": [method]})


def test_labels_are_chained_in_the_order_given() -> None:
    """After hardening all rows are equally sure, so the order decides which rows are kept, and on which labels."""
    weak_NC = weak(40, 3, 5)
    first_NC, keep_N = relabel("threshold:share=0.2+hard", weak_NC)
    assert np.array_equal(first_NC, relabel("hard", weak_NC)[0])
    assert np.array_equal(keep_N, relabel("threshold:share=0.2", weak_NC)[1])
    assert not np.array_equal(relabel("hard+threshold:share=0.2", weak_NC)[1], keep_N)
    assert np.array_equal(relabel("threshold:share=0.2+noise:share=1", weak_NC)[1], keep_N)
    noisy_NC = relabel("noise:share=1", weak_NC, 4)[0]
    found_NC, found_N = relabel("noise:share=1+threshold:share=0.2", weak_NC, 4)
    assert np.array_equal(found_NC, noisy_NC)
    assert np.array_equal(found_N, relabel("threshold:share=0.2", noisy_NC)[1])


def test_hooks_come_from_the_part_that_sets_them() -> None:
    """A default of `Method` that hides a part's own answer, on any of the hooks that the graph asks."""
    model = parse_model("smollm2-135m:20")
    chain, view, start = (
        parse_method(n) for n in ("bootstrapping:rounds=1,fresh=true", "consistency:drop=0.3", "lp-ft")
    )
    both = combine("ema:decay=0.7", chain, view, start)
    assert both.intermediates("smollm2-135m:10", model) == chain.intermediates("smollm2-135m:10", model) != ()
    assert (both.own_rows, both.view, both.start, both.stop) == (True, view.view, start.start, "weak")
    assert [arm for arm in ("student", "ceiling", "supervisor") if both.starts(arm)] == ["student"]
    plain = combine("ema", "hard")
    assert (plain.own_rows, plain.view, plain.start, plain.calibrates) == (False, None, None, False)
    assert plain.intermediates("smollm2-135m:10", model) == ()
    with pytest.raises(ConfigError, match="lora adapts the layers that a probe leaves frozen"):
        combine("ema", "lora").prepare(Probe())


def test_combine_refuses_in_our_own_words() -> None:
    """`except ConfigError` around a public function must hold."""
    with pytest.raises(ConfigError, match="both set the objective"):
        combine("confidence", "entropy")


def test_uses_ground_truth_marks_oracles_only() -> None:
    """An oracle that is not marked enters the comparison."""
    assert all(
        parse_method(n).uses_ground_truth
        for n in ("early-stop:on=oracle+confidence", "few-shot:labels=truth")
    )
    for name in METHODS.names():
        assert not METHODS.get(name)().uses_ground_truth, name


def test_methods_on_the_command_line_are_cut_at_the_right_commas() -> None:
    """A comma separates methods and parameters alike."""
    text = "confidence:a_max=0.5,warmup=0.1,naive+ema:decay=0.9,bootstrapping:through=smollm2-135m:8,rounds=1,my.py:x=1"
    assert _list_of(METHODS, [text]) == [
        "confidence:a_max=0.5,warmup=0.1", "naive+ema:decay=0.9",
        "bootstrapping:through=smollm2-135m:8,rounds=1", "my.py:x=1",
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match="confidence"):
        _list_of(METHODS, ["confidense"])


SHARPEN = """
from __future__ import annotations
from typing import ClassVar, Literal
import numpy as np
from pydantic import Field
from weakstrong.methods import METHODS, Method

@METHODS.register
class Sharpen(Method):
    \"\"\"Weak labels to a power.\"\"\"
    source: ClassVar[str] = "ours"
    sets: ClassVar[frozenset[str]] = frozenset({"labels"})
    kind: Literal["sharpen"] = "sharpen"
    power: float = Field(2.0, gt=0)

    def relabel(self, weak_NC, generator):
        sharp_NC = weak_NC ** self.power
        return sharp_NC / sharp_NC.sum(1, keepdims=True), np.ones(len(weak_NC), bool)
"""


@pytest.fixture
def method_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "sharpen.py"
    path.write_text(SHARPEN)
    before, loaded = set(METHODS.names()), set(own._loaded)
    yield path
    for name in (set(METHODS.names()) - before) | (set(own._loaded) - loaded):
        METHODS.forget(name)
        own._loaded.pop(name, None)


def test_a_method_of_ones_own_works_by_its_path(method_file: Path) -> None:
    """Whoever has an idea must not have to change the package."""
    method = parse_method(f"{method_file}:power=3")
    labels_NC, _ = method.relabel(np.array([[0.5, 0.5], [0.25, 0.75]], np.float32), np.random.default_rng(0))
    assert labels_NC[1].tolist() == pytest.approx([1 / 28, 27 / 28])
    assert method.name == "sharpen:power=3.0"
    again = Experiment.from_yaml(experiment(f"{method_file}+confidence").to_yaml())
    assert again.methods[0].name == "sharpen+confidence"


def test_the_files_code_is_in_the_key_and_its_place_is_not(method_file: Path, tmp_path: Path) -> None:
    """Edited code that serves the old numbers is the worst surprise of a cache."""
    method = parse_method(str(method_file))
    moved = tmp_path / "elsewhere" / "sharpen.py"
    moved.parent.mkdir()
    moved.write_text(SHARPEN)
    assert parse_method(str(moved)).key() == method.key()
    recorded = method.to_dict()
    method_file.write_text(SHARPEN.replace("** self.power", "** (self.power + 1)"))
    edited = parse_method(str(method_file))
    assert edited.key() != method.key()
    found_NC, _ = edited.relabel(np.array([[0.25, 0.75]], np.float32), np.random.default_rng(0))
    assert found_NC[0].tolist() == pytest.approx([1 / 28, 27 / 28])
    with pytest.raises(ConfigError, match="has changed since"):
        parse_method(recorded)


def test_an_old_file_put_back_works_again(method_file: Path) -> None:
    """An edit that breaks and is undone, in a notebook: the advice of the error must lead out of it."""
    parse_method(str(method_file))
    method_file.write_text("1 / 0")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        parse_method(str(method_file))
    method_file.write_text(SHARPEN)
    assert parse_method(str(method_file)).name == "sharpen"


PLAIN = "from weakstrong.methods import METHODS\n@METHODS.register\nclass Mine: pass"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("gone.py", None, "does not exist"), ("broken.py", "1 / 0", "cannot be imported: ZeroDivisionError"),
     ("empty.py", "x = 1", "registers no method; decorate"),
     ("other.py", SHARPEN, 'needs kind: Literal\\["other"\\]'),
     ("naive.py", SHARPEN, "is a method of the package already; rename"),
     ("mine.py", PLAIN, "no Method")],
)  # fmt: skip
@pytest.mark.usefixtures("method_file")
def test_files_that_hold_no_method_are_refused(
    tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    """A traceback from inside an import says nothing of what to do."""
    if text is not None:
        (tmp_path / name).write_text(textwrap.dedent(text))
    with pytest.raises(ConfigError, match=words):
        parse_method(str(tmp_path / name))
    assert set(METHODS.names()) >= {"naive", "confidence"}
    assert not {"other", "broken", "empty"} & set(METHODS.names())


def test_an_experiment_whose_method_file_is_gone_hides_no_other(method_file: Path, tmp_path: Path) -> None:
    """One unreadable experiment would make all results of a store unreadable; leaving it out unseen is no better."""
    store = Store(tmp_path / "store")
    for name in (str(method_file), "naive"):
        remember(store, experiment(name))
    assert len(remembered(store)) == 2
    method_file.unlink()
    with pytest.warns(UserWarning, match=r"(?s)left out: .*sharpen\.py does not exist"):
        found = remembered(store)
    assert [e.methods[0].name for e in found] == ["naive"]
