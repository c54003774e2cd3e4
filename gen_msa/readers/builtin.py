"""The reader that comes with us: a small multimodal model from packages.

Knows nothing of how prompts are read. Without trained weights it is zero-shot, weak, and is shown
no pictures, because nothing has taught it to see; `eval/bench/README.md` has its figures.

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
    model, processor, revision = builtin.load(settings.backend.dtype, device)
    trained = builtin.adapted() is not None
    # An untrained projector turns a picture into noise: better none.
    shown = processor if trained else processor.tokenizer
    backend = TransformersBackend.of(model, shown, settings.backend, revision)
    backend.lists_aspects = False
    # Untrained small models imitate examples better than they follow instructions.
    prompt = "reader/full" if trained else "reader/shots"
    return Prompted(backend, settings, media_root, prompt=prompt)
