"""The OpenAI-shaped server of vLLM, started as gen_msa needs it: `gen-msa serve vllm:MODEL`.

    settings -> finding (folders, facts, what contradicts them) -> command -> running -> probing

The server is another process, and may be of another environment. Nothing of vLLM is imported here.
`http:` readers ask it; this door loads no model library.

    gen-msa serve vllm:models/qwen3-vl-8b@runs/mabsa media_root=pictures --print
"""

from gen_msa.serving.vllm.settings import VllmSettings

__all__ = ["VllmSettings"]
