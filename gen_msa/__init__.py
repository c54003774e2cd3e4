"""gen_msa: multimodal aspect-based sentiment, with explanations.

A predictor adds `Opinion`s to a `Post`; metrics compare predictors. The data types are in
`gen_msa.types`. Importing this package imports nothing heavy.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from gen_msa.api.evaluate import Evaluation, evaluate
    from gen_msa.api.explain import SentimentModel, annotate, explain, load
    from gen_msa.api.opinions import Opinions
    from gen_msa.api.posts import Posts, read_posts
    from gen_msa.api.training import distill, finetune
    from gen_msa.errors import MissingExtra, UserError
    from gen_msa.types import Aspect, Evidence, Example, Media, Opinion, Polarity, Post

_MODULES = {
    "gen_msa.api.evaluate": ("Evaluation", "evaluate"),
    "gen_msa.api.explain": ("SentimentModel", "annotate", "explain", "load"),
    "gen_msa.api.opinions": ("Opinions",),
    "gen_msa.api.posts": ("Posts", "read_posts"),
    "gen_msa.api.training": ("distill", "finetune"),
    "gen_msa.errors": ("MissingExtra", "UserError"),
    "gen_msa.types": ("Aspect", "Evidence", "Example", "Media", "Opinion", "Polarity", "Post"),
}

__all__ = [
    "Aspect",
    "Evaluation",
    "Evidence",
    "Example",
    "Media",
    "MissingExtra",
    "Opinion",
    "Opinions",
    "Polarity",
    "Post",
    "Posts",
    "SentimentModel",
    "UserError",
    "annotate",
    "distill",
    "evaluate",
    "explain",
    "finetune",
    "load",
    "read_posts",
]


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'gen_msa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
