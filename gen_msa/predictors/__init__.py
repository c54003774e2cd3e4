"""Predictors add opinions to posts. A predictor is a file here, or any backend with a prompt.

Names, as for `--model`: `builtin`, `student:DIR`, `recorded:FILE`, `majority:SOURCE`, `minigpt4:…`;
and by backend `transformers:MODEL[@ADAPTER]`, `http:URL#MODEL`, `vllm:MODEL[@ADAPTER]`, `echo`.

    predictor = make(PredictorSettings(model="echo"), media_root=Path("images"))
    predictor.predict(posts)          # one Prediction per post: opinions, or why there are none
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
    is_thread_safe,
    make,
    names,
    predictors,
    prepare,
)

__all__ = [
    "Continuation",
    "Prediction",
    "Predictor",
    "PredictorFactory",
    "PredictorSettings",
    "Prefetchable",
    "RequestPreview",
    "is_concurrent",
    "is_thread_safe",
    "make",
    "names",
    "predictors",
    "prepare",
]
