"""How a model is trained: what decides the numbers (`Probe`, `Finetune`) and what does not (`Runtime`). No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from weakstrong.spec import Spec


class FeatureSpec(Spec):
    """How a text becomes one vector: the last token's state for decoders, the mean for encoders, after the final norm."""

    kind: Literal["features"] = "features"
    max_tokens: int = Field(256, ge=2, description="longer texts are cut")
    dtype: Literal["bfloat16", "float32"] = Field(
        "bfloat16", description="of the forward pass; features are float32"
    )


class Probe(Spec):
    """Linear heads on frozen features (paper D.2: Adam, lr 1e-3, batch 128, no weight decay, early stopping).

    The paper trains 200 epochs; 30 reach the same scores here, since the best epoch on weak validation labels comes
    early. Features are divided by their root mean square over the training rows, and the head has no bias, so that it
    folds into an ordinary classification layer.
    """

    kind: Literal["probe"] = "probe"
    epochs: int = Field(30, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_rows: int = Field(128, ge=1)
    weight_decay: float = Field(0.0, ge=0, description="decoupled, as in AdamW")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of features left out at each step")
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the average of the weights that is kept; 0: none"
    )
    features: FeatureSpec = FeatureSpec()


class Lora(Spec):
    """Low-rank adapters on every linear layer of the body (Hu et al. 2021, arXiv 2106.09685)."""

    kind: Literal["adapters"] = "adapters"
    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)


class Finetune(Spec):
    """All weights trained (paper A.1: 2 epochs, batch 32, early stopping on weak validation labels)."""

    kind: Literal["finetune"] = "finetune"
    epochs: int = Field(2, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    batch_rows: int = Field(32, ge=1)
    warmup: float = Field(0.1, ge=0, le=1, description="share of steps over which the learning rate rises")
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(
        0.0, ge=0, lt=1, description="decay of the average of the weights that is kept; 0: none"
    )
    max_tokens: int = Field(256, ge=2, description="longer texts are cut")
    precision: Literal["bf16", "fp32"] = Field(
        "bf16", description="of the products; weights are always float32"
    )
    head: Literal["auto", "unembedding", "zeros"] = "auto"
    group_by_length: bool = Field(True, description="batches hold rows of like length; their order is random")
    evaluations: int = Field(2, ge=1, description="times per epoch that weak validation labels are looked at")
    lora: Lora | None = None
    save_weights: bool = Field(False, description="keep the model, as a Hugging Face folder")

    def as_features(self) -> FeatureSpec:
        """How a probe reads a model that is trained so: texts cut alike, products of the same precision.

        >>> Finetune(precision="fp32", max_tokens=64).as_features().dtype
        'float32'
        """
        dtype: Literal["bfloat16", "float32"] = "float32" if self.precision == "fp32" else "bfloat16"
        return FeatureSpec(max_tokens=self.max_tokens, dtype=dtype)


class Generative(Spec):
    """Language-model training on the task's texts, without labels, before the task's own training (paper §5.2.2)."""

    kind: Literal["language-model"] = "language-model"
    rows: int | None = Field(None, ge=1, description="texts to train on; empty: all of the part")
    epochs: int = Field(1, ge=1)
    learning_rate: float = Field(5e-5, gt=0)
    batch_rows: int = Field(32, ge=1)
    warmup: float = Field(0.1, ge=0, le=1, description="share of steps over which the learning rate rises")
    clip_norm: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=2, description="longer texts are cut")
    precision: Literal["bf16", "fp32"] = "bf16"


class ProbeFirst(Spec):
    """A probe on frozen features gives the head, then all weights are trained (Kumar et al. 2022, arXiv 2202.10054)."""

    kind: Literal["probe-first"] = "probe-first"
    epochs: int = Field(30, ge=1)
    learning_rate: float = Field(1e-3, gt=0)


class Prompt(Spec):
    """Classification by the probability of an answer's tokens after a prompt, no training (paper §5.2.1)."""

    kind: Literal["prompt"] = "prompt"
    shots: int = Field(0, ge=0, description="labelled examples in the prompt")
    labels: Literal["weak", "truth"] = Field("weak", description="whose labels the examples carry")
    instruction: str = Field("", description="empty: the task's own")
    max_tokens: int = Field(256, ge=2, description="longer texts are cut")
    precision: Literal["bf16", "fp32"] = "bf16"


class Perturb(Spec):
    """Another view of every text: the user's paraphrase where the task has one, else words left out and swapped."""

    kind: Literal["perturb"] = "perturb"
    view: Literal["auto", "paraphrase", "words"] = "auto"
    drop: float = Field(0.1, ge=0, lt=1, description="share of words left out")
    swap: float = Field(0.1, ge=0, lt=1, description="share of words that change places with the next")


class Hint(Spec):
    """A line below every text that states its weak hard label (Burns et al. 2023, E.3)."""

    kind: Literal["hint"] = "hint"
    line: str = Field("I think this is {label}.", description="{label} is the name of the class")
    context_words: int = Field(
        160,
        ge=1,
        description="last words of a text that are kept, so that the line behind them is not cut off",
    )

    @field_validator("line")
    @classmethod
    def _says_the_label(cls, value: str) -> str:
        if "{label}" not in value:
            raise ValueError("the line states the weak label: write {label} where the class's name goes")
        return value


Start = Annotated[Generative | ProbeFirst, Field(discriminator="kind")]
ProgressCall = Callable[[float, float, str], None]
Training = Annotated[Probe | Finetune, Field(discriminator="kind")]


@dataclass(frozen=True)
class Runtime:
    """How a step runs; never part of a key.

    Attributes:
        device: torch device of the step.
        forward_tokens: padded tokens per batch of a forward pass.
        micro_batch_tokens: padded tokens per forward and backward pass; a batch is cut to fit, with the same result.
        checkpoint_seconds: time between checkpoints of a training step.
        processes: processes that share one training step (torchrun); 1: none but this one.
        threads: threads of a step on the CPU; empty: as many as torch takes.
        shard_above: parameters of a model above which processes that share a step hold shards of it (FSDP2); a smaller
            one is held whole by each (DDP).
        gradient_checkpointing: trade time for memory in finetuning.
        head_bytes: memory for features of heads that train together.
        progress: called with (done, total, words) from inside a step.
        stopping: asked between training steps; once it says yes, the step saves its state and raises `Stopped`.
        kept: called with the scratch folder after each checkpoint, to take it somewhere safer.
    """

    device: str = "cpu"
    forward_tokens: int = 2048
    micro_batch_tokens: int = 2048
    checkpoint_seconds: float = 120.0
    gradient_checkpointing: bool = False
    head_bytes: int = 256 * 2**20
    processes: int = 1
    threads: int | None = None
    shard_above: int = 1_000_000_000
    progress: ProgressCall | None = None
    stopping: Callable[[], bool] | None = None
    kept: Callable[[Path], object] | None = None

    def should_stop(self) -> bool:
        """Whether the step is asked to save its state and stop."""
        return self.stopping is not None and self.stopping()

    def report(self, done: float, total: float, words: str) -> None:
        """Pass progress on, if anyone listens."""
        if self.progress is not None:
            self.progress(done, total, words)
