"""Readers made of cues, a prompt and a backend; fine-tuning asks with the same parts.

seeing (pictures, aspects) -> asking (cues, prompt) -> backend -> answers -> Opinion

Prompted(backend, settings, media_root).read(posts)
"""

from gen_msa.readers.prompted.asking import RequestBuilder, PromptRequest
from gen_msa.readers.prompted.reader import PromptedPredictor
from gen_msa.readers.prompted.seeing import PostRejected, StudentInputs, load_inputs
from gen_msa.readers.prompted.trained import apply_training_settings

__all__ = ["RequestBuilder", "PostRejected", "PromptedPredictor", "PromptRequest", "StudentInputs", "apply_training_settings", "load_inputs"]
