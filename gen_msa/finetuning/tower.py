"""The vision tower of a model: found, listened to, and made to say something else for a while.

Knows nothing of files. Towers are found by the attribute names that families share.

    tower = Tower.of(model)
    output = tower.heard(lambda: model(**inputs))     # the tower runs, and nothing after it
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from gen_msa.errors import UserError
from gen_msa.finetuning.parts import TOWERS


class _Said(Exception):
    """The tower has spoken: what comes after it is not needed."""


def unfit(reason: str) -> UserError:
    """The error for a model whose tower cannot be remembered."""
    return UserError(
        f"levers.feature_cache: this model's vision tower cannot be remembered: {reason}",
        mend='leave levers.feature_cache empty: ""',
    )


@dataclass(frozen=True)
class Tower:
    """A frozen vision tower."""

    module: Any

    @classmethod
    def of(cls, model: Any) -> "Tower":
        """The outermost module named as towers are.

        Raises `UserError` for a model without one, and for one that is trained.
        """
        names = [n for n, _ in model.named_modules() if n.rpartition(".")[2] in TOWERS]
        if not names:
            raise unfit(f"{type(model).__name__} has none")
        name = min(names, key=lambda n: n.count("."))
        module = model.get_submodule(name)
        trained = [n for n, p in module.named_parameters() if p.requires_grad]
        if trained:
            raise UserError(
                f"levers.feature_cache: {name} is trained ({len(trained)} tensors, the first "
                f"{trained[0]}), so what it says changes",
                mend="leave levers.feature_cache empty, or freeze it: train_vision: false "
                "(a projector inside the tower, as in Qwen-VL: train_projector: false)",
            )
        return cls(module)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its weights, quantised ones aside."""
        return next(p.dtype for p in self.module.parameters() if p.is_floating_point())

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        found: torch.device = next(self.module.parameters()).device
        return found

    def heard(self, run: Callable[[], Any]) -> Any:
        """What the tower says when `run` calls the model, without slopes.

        Nothing is computed after it. Raises `UserError` if the model does not call it.
        """
        heard: list[Any] = []
        own = self.module.forward

        def listen(*args: Any, **kwargs: Any) -> Any:
            with torch.no_grad():
                heard.append(own(*args, **kwargs))
            raise _Said

        with self.saying(listen), contextlib.suppress(_Said):
            run()
        if not heard:
            raise unfit("the model does not show it its pictures")
        return heard[0]

    @contextlib.contextmanager
    def saying(self, forward: Callable[..., Any]) -> Iterator[None]:
        """The tower with another forward pass for a while."""
        own = vars(self.module).get("forward")
        self.module.forward = forward
        try:
            yield
        finally:
            if own is None:
                del self.module.forward
            else:
                self.module.forward = own

    def classes(self) -> dict[str, Any]:
        """Output classes by name: transformers' own, and those of the tower's module."""
        from transformers import modeling_outputs
        from transformers.utils import ModelOutput

        homes = [sys.modules[c.__module__] for c in type(self.module).__mro__]
        found: dict[str, Any] = {}
        for home in [modeling_outputs, *reversed(homes)]:
            found |= {k: v for k, v in vars(home).items() if isinstance(v, type)}
        return {k: v for k, v in found.items() if issubclass(v, ModelOutput)}


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """The model in evaluation mode for a while, each part then as it was."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
