"""Run a Hugging Face model in this process: tokenization, batching, shared prefixes, decoding.

Used by `gen_msa.backends.transformers`, fine-tuning and the probe of vLLM; the registry skips it.
It
knows no names of model families: `model_traits` asks a model's configuration and cache what they
allow.

    from gen_msa.backends.hf.chat_tokens import ChatTokenizer
"""
