"""Makes a reader from its settings: a registered one, or any backend with a prompt.

Knows nothing of what a reader does.

    make(ReaderSettings(reader="echo"), media_root=Path("pictures"))
"""

from pathlib import Path

from gen_msa.backends import backends
from gen_msa.errors import UserError, did_you_mean
from gen_msa.predictors.base import Predictor, PredictorSettings, predictors


def names() -> list[str]:
    """Every reader and backend that can be named before the colon."""
    return sorted({*predictors.names(), *backends.names()})


def make(settings: PredictorSettings, media_root: Path) -> Predictor:
    """The reader that `settings.reader` names; loads its model.

    Raises `UserError` for an unknown name and `MissingExtra` when its package is absent.
    """
    name, _, target = settings.model.partition(":")
    if name in predictors:
        return predictors[name](target, settings, media_root)
    if name not in backends:
        raise UserError(f"no reader named {name!r}", hint=did_you_mean(name, names()))
    from gen_msa.predictors.prompted import PromptedPredictor, apply_training_settings

    backend = backends[name](target, settings.backend)
    # Only a backend that holds the weights can know how they were trained.
    settings = apply_training_settings(settings, getattr(backend, "training_metadata", None))
    return PromptedPredictor(backend, settings, media_root)
