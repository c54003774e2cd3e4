"""Turn requests into completions. A backend is a file here, imported only when it is named.

A backend sees chats and answers with text. A slot (`Request.choice`) and a JSON schema
(`Request.json_schema`) are offered together; each backend enforces the one it can and says which in
`Completion.notes["form"]` (`slot`, `schema`, `free`).

    backend = backends["echo"]("", BackendOptions())
    backend.complete([request])
"""

from gen_msa.backends.base import (
    Backend,
    BackendFactory,
    BackendOptions,
    Prices,
    TokenCount,
    backends,
)

__all__ = ["Backend", "BackendFactory", "BackendOptions", "Prices", "TokenCount", "backends"]
