"""The reader that comes with us: a small multimodal model, and what was trained on top of it.

`builtin:FOLDER` reads with an adapter of your own in place of ours. Without any it is zero-shot,
weak, and is shown no pictures, because nothing has taught it to see; `eval/bench/README.md` has its
figures. Knows nothing of how prompts are read.

    gen-msa explain posts.jsonl --model builtin
"""

from pathlib import Path

from gen_msa import builtin
from gen_msa.backends.hf import weights
from gen_msa.backends.transformers import TransformersBackend
from gen_msa.predictors.base import Predictor, PredictorSettings, predictors
from gen_msa.predictors.prompted import PromptedPredictor, apply_training_settings


@predictors.register
def make(target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
    """The builtin reader; `target` is an adapter's folder, or "" for the one that came with us."""
    adapter = target or builtin.adapter_folder()
    model_spec = str(builtin.model_folder()) + (f"@{adapter}" if adapter else "")
    if adapter:
        backend = TransformersBackend(model_spec, settings.backend)
        settings = apply_training_settings(settings, backend.training_metadata)
    else:
        model, processor, revision = weights.load_model_and_processor(model_spec, settings.backend)
        # An untrained projector turns a picture into noise: better none.
        backend = TransformersBackend.from_model(
            model, processor.tokenizer, settings.backend, revision
        )
    backend.can_list_aspects = False
    # Untrained small models imitate examples better than they follow instructions.
    return PromptedPredictor(
        backend, settings, media_root, prompt="predict/full" if adapter else "predict/shots"
    )
