"""Readers made of cues, a prompt and a backend; fine-tuning asks with the same parts.

seeing (pictures, aspects) -> asking (cues, prompt) -> backend -> answers -> Opinion

Prompted(backend, settings, media_root).read(posts)
"""

from gen_msa.predictors.prompted.adapter_settings import apply_training_settings
from gen_msa.predictors.prompted.build_requests import (
    PostInputs,
    PostRejected,
    PromptRequest,
    RequestBuilder,
    load_inputs,
)
from gen_msa.predictors.prompted.predictor import PromptedPredictor

__all__ = [
    "PostInputs",
    "PostRejected",
    "PromptRequest",
    "PromptedPredictor",
    "RequestBuilder",
    "apply_training_settings",
    "load_inputs",
]
