"""The reader that comes with us: a small language model from its package, zero-shot.

Knows nothing of how prompts are read. It is weak and says what it is; `eval/bench/README.md` has
its figures.

    gen-msa explain posts.jsonl --reader builtin
"""

from pathlib import Path

from gen_msa import builtin
from gen_msa.backends.local.weights import device_of
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.errors import UserError
from gen_msa.readers import Reader, ReaderSettings, readers
from gen_msa.readers._prompted import Prompted


@readers.register
def make(target: str, settings: ReaderSettings, media_root: Path) -> Reader:
    """The builtin reader. It takes no target."""
    if target:
        raise UserError(f"builtin takes nothing after the colon, not {target!r}")
    device = device_of(settings.backend.device)
    model, tokenizer, revision = builtin.load(settings.backend.dtype, device)
    backend = TransformersBackend.of(model, tokenizer, settings.backend, revision)
    backend.lists_aspects = False
    # Small models imitate examples better than they follow instructions.
    return Prompted(backend, settings, media_root, prompt="reader/shots")
