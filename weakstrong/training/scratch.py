"""Small decoders made from nothing: a tokenizer of chess moves, and a Llama of a given size with random weights.

`weakstrong.training.generative.tune` then trains one as it trains any decoder.

Legend: B rows, T tokens, V vocabulary, P predicted tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import nn

from weakstrong.errors import ConfigError, DataError
from weakstrong.models._load import quiet_transformers
from weakstrong.spec import Spec
from weakstrong.training.batching import batches_by_length
from weakstrong.training.features import pad, tokenize
from weakstrong.training.generative import CHUNK_TOKENS, summed_loss

MOVE_NUMBERS = r" ?\b\d+\.+"
"""``1.`` and ``1...`` say what the place of a move says already; without them a game has half as many tokens."""
PIECES = r" ?[^ +#]+|[+#]"
START, END, PAD, UNKNOWN = "<s>", "</s>", "<pad>", "<unk>"


class DecoderSize(Spec):
    """The shape of a Llama-style decoder with tied embeddings; about ``12 · layers · width²`` parameters without them."""

    name: str
    width: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)

    def config(self, tokenizer: Any, context: int) -> Any:
        """The transformers configuration.

        Raises:
            ConfigError: if the width is no even multiple of the number of heads.
        """
        from transformers import LlamaConfig

        if self.width % (2 * self.heads):
            raise ConfigError(
                f"size {self.name}: width {self.width} cannot be shared by {self.heads} heads of an even size"
            )
        return LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            # Two thirds of four times the width: the gate takes the parameters of the last third. Multiples of 16.
            intermediate_size=-(-self.width * 8 // 48) * 16,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )


def move_tokenizer(games: Iterable[str], vocabulary: int) -> Any:
    """A byte-pair tokenizer of chess moves in SAN, learnt from games such as ``1. d4 1... Nf6 2. c4``.

    Frequent moves become one token, rare ones a few, and none is unknown. A sign of check or mate is a token of its own;
    move numbers are left out. A text begins with ``<s>``.

    Raises:
        DataError: if ``games`` is empty.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE(unk_token=UNKNOWN))
    inner.normalizer = normalizers.Replace(Regex(MOVE_NUMBERS), "")
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    inner.decoder = decoders.Fuse()
    special = [PAD, START, END, UNKNOWN]
    alphabet = list(" abcdefgh12345678KQRBNOx=-+#")
    trainer = BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(games, trainer)
    if inner.get_vocab_size() <= len(special) + len(alphabet):
        raise DataError("no game to learn the tokens of moves from")
    inner.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, inner.token_to_id(START))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )


def new_decoder(out: Path, size: DecoderSize, tokenizer: Any, context: int, seed: int) -> Path:
    """Write a decoder with random weights (drawn from ``seed``) to ``out`` as an ordinary Hugging Face folder."""
    from transformers import LlamaForCausalLM

    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        LlamaForCausalLM(size.config(tokenizer, context)).save_pretrained(out)
        tokenizer.save_pretrained(out)
    return out


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not read by mypy here
def mean_loss(model: nn.Module, tokenizer: Any, texts: Sequence[str], max_tokens: int, budget: int) -> float:
    """Mean next-token loss in nats over all tokens of ``texts`` behind their first, in batches of ``budget`` tokens."""
    rows = [row for row in tokenize(tokenizer, list(texts), max_tokens) if len(row) > 1]
    if not rows:
        raise DataError("no text with two tokens to predict on")
    total, count = 0.0, 0
    device = next(model.parameters()).device
    for part in batches_by_length([len(row) for row in rows], budget):
        ids_BT, mask_BT = pad([rows[i] for i in part], tokenizer.pad_token_id, device)
        hidden_BTD = model.get_decoder()(
            input_ids=ids_BT, attention_mask=mask_BT, use_cache=False
        ).last_hidden_state
        real_BT = mask_BT[:, 1:].bool()
        hidden_PD, target_P = hidden_BTD[:, :-1][real_BT], ids_BT[:, 1:][real_BT]
        for start in range(0, len(target_P), CHUNK_TOKENS):
            chunk = slice(start, start + CHUNK_TOKENS)
            total += float(
                summed_loss(model, model.get_output_embeddings()(hidden_PD[chunk]), target_P[chunk])
            )
        count += len(target_P)
    return total / count
