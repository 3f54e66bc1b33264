"""What is known of models, rows, texts and speeds before a step runs; what is not known is assumed. No torch.

Each assumption is a constant below. Nothing here reads ground truth: of stored rows only the texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from weakstrong.data import Part, Split
from weakstrong.errors import StoreError
from weakstrong.models.base import MODELS, ModelSpec, card
from weakstrong.steps import FeaturesOf, NarrowSpec, TrainSplit
from weakstrong.store import Step, Store
from weakstrong.tasks.base import Task

ASSUMED_ROWS = 10_000
"""Rows of a task that was never loaded and does not say."""
ASSUMED_TOKENS = 128
"""Tokens of a text that was never seen."""
ASSUMED_PARAMETERS = 1e9
"""Of a model that is not here and whose name states no size (as ``0.5B`` does)."""
ASSUMED_LAYERS = 24
ASSUMED_BODY = 0.85
"""Share of the parameters outside the embeddings, of a model that is not here."""
BYTES_PER_TOKEN = 4
"""Of UTF-8. English has 4.2 to 4.6 in the embedded models, so that tokens are guessed a little high."""
LONGEST_DOUBT = 1.5
"""How much longer than guessed the longest text may be."""
TEXTS_READ = 10_000
"""Texts of a task, from the first, whose lengths are looked at."""
RECORDS_READ = 50
"""Finished steps of a kind that the speed is read from."""
TRAININGS = frozenset({"finetune", "finetune_trajectory", "tune"})
"""Kinds whose records hold how many tokens they trained on, in how many seconds."""
UNTIMED = frozenset({"features", "judge", "prompt"})
"""Kinds whose records do not say enough: their time depends on the length of texts."""


@dataclass(frozen=True)
class Size:
    """A model at its depth.

    Attributes:
        parameters: all of them.
        body: those outside the embeddings.
        layers: depth.
        width: of the hidden states; guessed from the body, since a transformer's layer has about 12 × width² weights.
    """

    parameters: float
    body: float
    layers: int
    width: float

    @property
    def embedding(self) -> float:
        """Parameters of the embeddings, the unembedding's among them."""
        return self.parameters - self.body

    def forward(self, tokens: float) -> float:
        """FLOPs per token of a text with so many: two per weight of the body, and attention over the text."""
        return 2 * self.body + 4 * tokens * self.width * self.layers


@dataclass(frozen=True)
class Lengths:
    """Tokens of a row, each text cut to what a step takes of it; of a comparison both texts count.

    Attributes:
        mean, longest: of the rows looked at.
        bound: what the longest of all rows may well have; the guess for a single text is rough.
    """

    mean: float
    longest: float
    bound: float

    def padded(self, batches: float) -> float:
        """Mean with padding, where rows sorted by length are cut into so many batches of any lengths alike."""
        return self.mean + (self.longest - self.mean) / max(1.0, batches)


class Facts:
    """Looks things up once; a store that says no is not asked again.

    Args:
        store: None if there is none yet.
    """

    def __init__(self, store: Store | None) -> None:
        self.store = store
        self.assumptions: dict[str, str] = {}
        """What was assumed for want of knowledge, in sentences, by what it was assumed of."""
        self._models = {
            MODELS.get(n).sha256: ModelSpec(name=n, source=n, weights=MODELS.get(n).sha256)
            for n in MODELS.names()
        }
        self._found: dict[tuple[object, ...], Any] = {}

    def _once(self, make: Callable[[], Any], *key: object) -> Any:
        if key not in self._found:
            self._found[key] = make()
        return self._found[key]

    # --- models

    def size(self, spec: ModelSpec) -> Size:
        """From the model's card; of a model that is not here from its name, else `ASSUMED_PARAMETERS`."""
        self._models.setdefault(spec.weights, spec)
        found: Size = self._once(lambda: self._sized(spec), "size", spec.source, spec.layers)
        return found

    def _sized(self, spec: ModelSpec) -> Size:
        known = card(spec)
        layers = known.layers or ASSUMED_LAYERS
        if known.parameters is None or known.flops_per_token is None:
            parameters = stated_parameters(spec.name)
            self.assumptions[spec.source] = (
                f"{spec.name} is not here; it is taken to have {parameters / 1e6:,.0f} million parameters."
            )
            body = ASSUMED_BODY * parameters
        else:
            parameters, body = known.parameters, known.flops_per_token / 2
        return Size(parameters, body, layers, math.sqrt(body / layers / 12))

    def width(self, features: Step) -> float:
        """Of the vectors that a `features` step writes, or a `narrow` one."""
        known = self.summary(features).get("width")
        if known is None and isinstance(features.spec, NarrowSpec):
            wide = self.width(features.inputs["features"])
            known = features.spec.k if features.spec.k is not None else (features.spec.share or 0) * wide
        if known is not None:
            return float(known)
        assert isinstance(features.spec, FeaturesOf)
        return self.size(features.spec.model).width

    # --- rows and texts

    def rows(self, split: Step, part: Part) -> float:
        """Rows of a part: counted in the stored split, else by its spec and the rows of the task."""
        dealt: dict[str, float] = self._once(lambda: self._dealt(split), "parts", split.key)
        return dealt.get(str(part), 0.0)

    def _dealt(self, split: Step) -> dict[str, float]:
        counted = self.summary(split).get("rows_per_part")
        if counted is not None:
            return {str(part): float(rows) for part, rows in counted.items()}
        if split.name == "easy":  # at most what it leaves out rows of
            return self._dealt(split.inputs["split"])
        spec, loaded = split.spec, split.inputs["load"]
        total = self.total(loaded)
        if isinstance(spec, TrainSplit):
            # Rows with ground truth are tested; the others learn.
            test = min(total, sum(self.summary(loaded).get("rows_per_class", ())))
            held = spec.validation_share * (total - test)
            dealt: dict[Part, float] = {
                Part.TEST: test,
                Part.VALIDATION: held,
                Part.TRANSFER: total - test - held,
            }
        else:
            assert isinstance(spec, Split)
            test = spec.test_rows if spec.test_rows is not None else min(2000, total // 5)
            held = spec.validation_rows if spec.validation_rows is not None else min(500, total // 20)
            left = max(0, total - test - 2 * held)
            train = spec.train_rows if spec.train_rows is not None else left / 2
            dealt = {
                Part.TEST: test,
                **dict.fromkeys((Part.VALIDATION, Part.WEAK_VALIDATION), held),
                **dict.fromkeys((Part.TRANSFER, Part.WEAK_TRAIN), train),
                Part.SPARE: max(0.0, left - 2 * train),
            }
        return {str(part): float(rows) for part, rows in dealt.items()}

    def total(self, step: Step) -> int:
        """Rows of the task behind ``step``: as loaded, as its card says, or `ASSUMED_ROWS`."""
        loaded = self.loaded(step)
        if loaded is None:
            return ASSUMED_ROWS
        stated = loaded.spec.size if isinstance(loaded.spec, Task) else None
        known = self.summary(loaded).get("rows") or stated
        if known is None:
            self.assumptions[loaded.key] = (
                f"{loaded.title}: taken to be {ASSUMED_ROWS:,}, they were never loaded."
            )
        return int(known or ASSUMED_ROWS)

    def classes(self, step: Step) -> int:
        """Classes of the task behind ``step``; two if it was never loaded."""
        loaded = self.loaded(step)
        return max(2, len(self.summary(loaded).get("rows_per_class", ())) if loaded is not None else 0)

    def loaded(self, step: Step) -> Step | None:
        """The `load` step behind ``step``, or itself."""

        def look() -> Step | None:
            one: Step | None = step
            while one is not None and one.name != "load":
                roles = [r for r in ("load", "examples", "split", *one.inputs) if r in one.inputs]
                one = one.inputs[roles[0]] if roles else None
            return one

        found: Step | None = self._once(look, "loaded", step.key)
        return found

    def _task(self, step: Step) -> str:
        loaded = self.loaded(step)
        return loaded.spec.name if loaded is not None and isinstance(loaded.spec, Task) else step.title

    def tokens(self, examples: Step, max_tokens: int) -> Lengths:
        """Of the rows of an `examples` step, as stored; else `ASSUMED_TOKENS`."""
        found: Lengths = self._once(
            lambda: self._cut(examples, max_tokens), "tokens", examples.key, max_tokens
        )
        return found

    def _cut(self, examples: Step, max_tokens: int) -> Lengths:
        texts: list[list[float]] = self._once(lambda: self._lengths(examples), "texts", examples.key)
        if not texts:
            self.assumptions[examples.key] = (
                f"{self._task(examples)}: its texts are not stored; each is taken to have {ASSUMED_TOKENS} tokens."
            )
            assumed = min(ASSUMED_TOKENS, max_tokens)
            return Lengths(assumed, assumed, max_tokens)
        cut = [[min(tokens, max_tokens) for tokens in column] for column in texts]
        longest = max(map(max, cut))
        bound = min(max_tokens, LONGEST_DOUBT * longest)
        return Lengths(sum(fmean(column) for column in cut), longest * len(cut), bound * len(cut))

    def _lengths(self, examples: Step) -> list[list[float]]:
        """Tokens of each text, column by column; empty if no texts are stored."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        source, name = examples, "examples.parquet"
        while not self.is_stored(source) and source.inputs:
            inputs = source.inputs
            source = inputs["examples"] if "examples" in inputs else inputs["load"]
            name = "rows.parquet" if source.name == "load" else name
        if self.store is None or not self.is_stored(source):
            return []
        try:
            file = pq.ParquetFile(self.store.open(source) / name)
        except StoreError:  # damaged: that is for the run to deal with
            return []
        columns = [c for c in ("text", "other") if c in file.schema_arrow.names]
        batch = next(file.iter_batches(TEXTS_READ, columns=columns), None)
        if batch is None or not len(batch):
            return []
        sizes = [pc.binary_length(batch.column(c)).to_pylist() for c in columns]
        return [[max(1.0, size / BYTES_PER_TOKEN) for size in column] for column in sizes]

    # --- the store

    def is_stored(self, step: Step) -> bool:
        """Whether ``step`` is stored. A step that is ready has its inputs stored, so a no is for plans only."""
        found: bool = self._once(
            lambda: self.store is not None and self.store.has(step), "stored", step.name, step.key
        )
        return found

    def summary(self, step: Step) -> dict[str, Any]:
        """What a stored step said of itself; nothing if it is not stored or damaged."""

        def read() -> dict[str, Any]:
            if self.store is None or not self.is_stored(step):
                return {}
            try:
                return dict(self.store.record(step).get("summary", {}))
            except StoreError:
                return {}

        found: dict[str, Any] = self._once(read, "summary", step.key)
        return found

    def measured(self, kind: str) -> float | None:
        """Median over finished steps of a kind: FLOPs per second of trainings, seconds of the others; None for none."""
        found: float | None = self._once(lambda: self._measured(kind), "measured", kind)
        return found

    def _measured(self, kind: str) -> float | None:
        if self.store is None or kind in UNTIMED:
            return None
        found: list[float] = []
        for key in sorted(self.store.keys(kind))[:RECORDS_READ]:
            try:
                record = self.store.read_record(kind, key)
            except StoreError:
                continue
            if kind in TRAININGS:
                found += self._speed_in(record)
            else:
                found.append(float(record["provenance"]["seconds"]))
        return median(found) if found and median(found) > 0 else None

    def _speed_in(self, record: dict[str, Any]) -> Iterator[float]:
        summary, spec = record["summary"], record["spec"]
        # A record holds the digest of the weights, not where they lie: of models not met yet the size is unknown.
        model = self._models.get(spec["model"]["weights"])
        if model is None or not summary.get("seconds"):
            return
        size = self.size(model.model_copy(update={"layers": spec["model"]["layers"]}))
        passes = 2 if spec.get("training", {}).get("lora") else 3
        # Attention is left out: how long these texts were is not recorded.
        each = size.forward(0) + (2 * size.embedding if record["step"] == "tune" else 0)
        yield passes * summary["tokens"] * each / summary["seconds"]


def stated_parameters(name: str) -> float:
    """Parameters that a model's name states, else `ASSUMED_PARAMETERS`.

    >>> stated_parameters("hub:Qwen/Qwen2.5-0.5B@main")
    500000000.0
    """
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", name.partition("@")[0].lower())
    if found is None:
        return ASSUMED_PARAMETERS
    return float(found[1]) * (1e9 if found[2] == "b" else 1e6)
