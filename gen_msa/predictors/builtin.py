"""The packaged model: a small multimodal LLM, with an adapter trained on it.

`builtin:FOLDER` uses another adapter. Without any adapter the model is zero-shot and weak, and gets
no images, because its projector is untrained; `eval/bench/README.md` has its metrics.

    gen-msa explain posts.jsonl --model builtin
"""

from pathlib import Path

from gen_msa import builtin
from gen_msa.predictors.base import Predictor, PredictorSettings, predictors
from gen_msa.predictors.prompted import PromptedPredictor, apply_training_settings


@predictors.register
def make(target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
    """Build the packaged model; `target` is the folder of another adapter, or "".

    Args:
        target: Folder of another adapter, or "".
        settings: All settings.
        media_root: Folder that image paths are relative to.

    Returns:
        The predictor.
    """
    adapter = target or builtin.adapter_folder()
    folder = builtin.model_folder()  # names what is not installed, so it comes before the imports
    from gen_msa.backends.hf import weights
    from gen_msa.backends.transformers import TransformersBackend

    model_spec = str(folder) + (f"@{adapter}" if adapter else "")
    if adapter:
        backend = TransformersBackend(model_spec, settings.backend)
        settings = apply_training_settings(settings, backend.training_metadata)
    else:
        model, processor, revision = weights.load_model_and_processor(model_spec, settings.backend)
        # An untrained projector turns an image into noise, so show none.
        backend = TransformersBackend.from_model(
            model, processor.tokenizer, settings.backend, revision
        )
    backend.can_list_aspects = False
    # Untrained small models imitate examples better than they follow instructions.
    return PromptedPredictor(
        backend, settings, media_root, prompt="predict/full" if adapter else "predict/shots"
    )
