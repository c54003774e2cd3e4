"""How a transformers model in this process is asked: words to tokens, plan, prefix, decoding.

Private to `gen_msa.backends.transformers`; the registry skips it. Knows no names of model families:
`family` asks a model's own configuration and caches what they allow.

    from gen_msa.backends.hf.chat_tokens import Layout
"""
