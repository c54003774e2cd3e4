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
from gen_msa.finetuning.parts import VISION_TOWER_NAMES


class _StopForward(Exception):
    """The tower has spoken: what comes after it is not needed."""


def unsupported_tower(reason: str) -> UserError:
    """The error for a model whose tower cannot be remembered."""
    return UserError(
        f"levers.feature_cache: this model's vision tower cannot be remembered: {reason}",
        hint='leave levers.feature_cache empty: ""',
    )


@dataclass(frozen=True)
class VisionTower:
    """A frozen vision tower."""

    module: Any

    @classmethod
    def from_model(cls, model: Any) -> "VisionTower":
        """The outermost module named as towers are.

        Raises `UserError` for a model without one, and for one that is trained.
        """
        names = [n for n, _ in model.named_modules() if n.rpartition(".")[2] in VISION_TOWER_NAMES]
        if not names:
            raise unsupported_tower(f"{type(model).__name__} has none")
        name = min(names, key=lambda n: n.count("."))
        module = model.get_submodule(name)
        trainable_names = [n for n, p in module.named_parameters() if p.requires_grad]
        if trainable_names:
            raise UserError(
                f"levers.feature_cache: {name} is trained ({len(trainable_names)} tensors, the first "
                f"{trainable_names[0]}), so what it says changes",
                hint="leave levers.feature_cache empty, or freeze it: train_vision: false "
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
        tower_device: torch.device = next(self.module.parameters()).device
        return tower_device

    def capture_output(self, run: Callable[[], Any]) -> Any:
        """What the tower says when `run` calls the model, without slopes.

        Nothing is computed after it. Raises `UserError` if the model does not call it.
        """
        outputs: list[Any] = []
        original_forward = self.module.forward

        def capture(*args: Any, **kwargs: Any) -> Any:
            with torch.no_grad():
                outputs.append(original_forward(*args, **kwargs))
            raise _StopForward

        with self.patched_forward(capture), contextlib.suppress(_StopForward):
            run()
        if not outputs:
            raise unsupported_tower("the model does not show it its pictures")
        return outputs[0]

    @contextlib.contextmanager
    def patched_forward(self, forward: Callable[..., Any]) -> Iterator[None]:
        """The tower with another forward pass for a while."""
        instance_forward = vars(self.module).get("forward")
        self.module.forward = forward
        try:
            yield
        finally:
            if instance_forward is None:
                del self.module.forward
            else:
                self.module.forward = instance_forward

    def output_classes(self) -> dict[str, Any]:
        """Output classes by name: transformers' own, and those of the tower's module."""
        from transformers import modeling_outputs
        from transformers.utils import ModelOutput

        modules = [sys.modules[c.__module__] for c in type(self.module).__mro__]
        classes_by_name: dict[str, Any] = {}
        for module in [modeling_outputs, *reversed(modules)]:
            classes_by_name |= {k: v for k, v in vars(module).items() if isinstance(v, type)}
        return {k: v for k, v in classes_by_name.items() if issubclass(v, ModelOutput)}


@contextlib.contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """The model in evaluation mode for a while, each part then as it was."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
