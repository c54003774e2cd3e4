"""Backends: from requests to completions. A backend is a file here, imported only when named.

Knows nothing of sentiment, posts or aspects: it is shown a chat and gives words back. A slot
(`Request.choice`) and a schema (`Request.json_schema`) are offered together; each backend honours
the one it can enforce and says which in `Completion.notes["form"]` (`slot`, `schema`, `free`).

    backend = backends["echo"]("", BackendOptions())
    backend.complete([request])
"""

from gen_msa.backends.base import Backend, BackendFactory, BackendOptions, TokenCount, backends

__all__ = ["Backend", "BackendFactory", "BackendOptions", "TokenCount", "backends"]
