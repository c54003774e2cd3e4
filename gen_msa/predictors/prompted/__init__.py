"""Predictors made of cues, a prompt and a backend; fine-tuning uses the same parts.

load_inputs (images) -> assign_aspects -> RequestBuilder (cues, prompt) -> backend -> parsing

PromptedPredictor(backend, settings, media_root).predict(posts)
"""

from gen_msa.predictors.prompted.build_requests import (
    PostInputs,
    PostRejected,
    PromptRequest,
    RequestBuilder,
    load_inputs,
)
from gen_msa.predictors.prompted.predictor import PromptedPredictor, apply_training_settings

__all__ = [
    "PostInputs",
    "PostRejected",
    "PromptRequest",
    "PromptedPredictor",
    "RequestBuilder",
    "apply_training_settings",
    "load_inputs",
]
