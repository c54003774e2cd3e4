"""Readers: whoever adds opinions to posts. A reader is a file here, or any backend with a prompt.

`builtin`, `file:X.jsonl`, and by their backend's name `transformers:MODEL[@ADAPTER]`,
`http:URL#MODEL`, `vllm:MODEL[@ADAPTER]`, `echo`. Knows nothing of jobs, ledgers or outputs.

    reader = make(ReaderSettings(reader="echo"), media_root=Path("pictures"))
    reader.read(posts)          # for each post a Reading: opinions, or why there are none
"""

from gen_msa.predictors.base import (
    Continuation,
    Prediction,
    Predictor,
    PredictorFactory,
    PredictorSettings,
    Prefetchable,
    RequestPreview,
    is_concurrent,
    predictors,
    prepare,
)
from gen_msa.predictors.factory import make, names

__all__ = [
    "Continuation",
    "Prediction",
    "Predictor",
    "PredictorFactory",
    "PredictorSettings",
    "Prefetchable",
    "RequestPreview",
    "is_concurrent",
    "make",
    "names",
    "predictors",
    "prepare",
]
