"""The reader that comes with us: a small multimodal model, and what was trained on top of it.

`builtin:FOLDER` reads with an adapter of your own in place of ours. Without any it is zero-shot,
weak, and is shown no pictures, because nothing has taught it to see; `eval/bench/README.md` has its
figures. Knows nothing of how prompts are read.

    gen-msa explain posts.jsonl --reader builtin
"""

from pathlib import Path

from gen_msa import builtin
from gen_msa.backends.local import weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.readers.base import Reader, ReaderSettings, readers
from gen_msa.readers.prompted import Prompted, as_trained


@readers.register
def make(target: str, settings: ReaderSettings, media_root: Path) -> Reader:
    """The builtin reader; `target` is an adapter's folder, or "" for the one that came with us."""
    adapter = target or builtin.adapted()
    name = str(builtin.folder()) + (f"@{adapter}" if adapter else "")
    if adapter:
        backend = TransformersBackend(name, settings.backend)
        settings = as_trained(settings, backend.trained)
    else:
        model, processor, revision = weights.load(name, settings.backend)
        # An untrained projector turns a picture into noise: better none.
        backend = TransformersBackend.of(model, processor.tokenizer, settings.backend, revision)
    backend.lists_aspects = False
    # Untrained small models imitate examples better than they follow instructions.
    return Prompted(
        backend, settings, media_root, prompt="reader/full" if adapter else "reader/shots"
    )
