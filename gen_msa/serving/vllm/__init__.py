"""Run vLLM's OpenAI-compatible server as gen_msa needs it: `gen-msa serve vllm:MODEL`.

    settings -> resolve (folders, metadata, contradictions) -> command -> server (start, verify)

The server is another process and may use another Python environment; nothing of vLLM is imported
here. Clients use it as an `http:` model.

    gen-msa serve vllm:models/qwen3-vl-8b@runs/mabsa media_root=images --print
"""

from gen_msa.serving.vllm.command import VllmSettings

__all__ = ["VllmSettings"]
