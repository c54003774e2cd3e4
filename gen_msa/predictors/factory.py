"""Build predictors from settings: a registered one, or any backend with a prompt.

make(PredictorSettings(model="echo"), media_root=Path("images"))
"""

from pathlib import Path

from gen_msa.backends import backends
from gen_msa.errors import UserError, did_you_mean
from gen_msa.predictors.base import Predictor, PredictorSettings, predictors


def names() -> list[str]:
    """Return every name that may stand before the colon: predictors and backends."""
    return sorted({*predictors.names(), *backends.names()})


def make(settings: PredictorSettings, media_root: Path) -> Predictor:
    """Build the predictor that `settings.model` names, and load its model.

    Args:
        settings: All settings.
        media_root: Folder that image paths are relative to.

    Returns:
        The predictor.

    Raises:
        UserError: The name is unknown.
        MissingExtra: A package that it needs is not installed.
    """
    name, _, target = settings.model.partition(":")
    if name in predictors:
        return predictors[name](target, settings, media_root)
    if name not in backends:
        raise UserError(f"no model named {name!r}", hint=did_you_mean(name, names()))
    from gen_msa.predictors.prompted import PromptedPredictor, apply_training_settings

    backend = backends[name](target, settings.backend)
    # Only a backend that holds the weights can know how they were trained.
    settings = apply_training_settings(settings, getattr(backend, "training_metadata", None))
    return PromptedPredictor(backend, settings, media_root)
