"""Caches outputs of a frozen vision encoder on disk, so that each row's images are encoded once.

Later epochs and runs read the outputs from a file; the pixels need not even be decoded. Only the
tensors that the model uses are stored (found by differentiation), and the first images are checked:
cached and computed features must give the same logits. Works for every model family.

    cache = VisionFeatureCache(model, processor, Path("features"))
    key = cache.ensure(images, lambda: expander.expand(row))
    cached = cache.load([key])                       # in any thread
    with cache.use_cached(cached):
        model(input_ids=..., **cached.tensors)
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from gen_msa import answer_cache
from gen_msa.backends.hf.image_inputs import ModelInputs, stack_tensors
from gen_msa.chat import ImageInput
from gen_msa.errors import UserError
from gen_msa.finetuning import feature_file
from gen_msa.finetuning.feature_file import CorruptFeatureFile, VisionFeatures
from gen_msa.training.model_parts import VISION_TOWER_NAMES


class _StopForward(Exception):
    """Raised once the tower has returned: the rest of the forward pass is not needed."""


def unsupported_tower(reason: str) -> UserError:
    """Return the error for a model whose vision tower cannot be cached."""
    return UserError(
        f"optimizations.feature_cache does not support this model's vision tower: {reason}",
        hint='leave optimizations.feature_cache empty: ""',
    )


@dataclass(frozen=True)
class VisionTower:
    """A frozen vision tower."""

    module: Any

    @classmethod
    def from_model(cls, model: Any) -> "VisionTower":
        """Find the outermost module with a name of vision towers.

        Raises:
            UserError: If the model has none, or it is trained.
        """
        names = [n for n, _ in model.named_modules() if n.rpartition(".")[2] in VISION_TOWER_NAMES]
        if not names:
            raise unsupported_tower(f"{type(model).__name__} has none")
        name = min(names, key=lambda n: n.count("."))
        module = model.get_submodule(name)
        trainable_names = [n for n, p in module.named_parameters() if p.requires_grad]
        if trainable_names:
            raise UserError(
                f"optimizations.feature_cache: {name} is trained ({len(trainable_names)} tensors, "
                f"the first {trainable_names[0]}), so its outputs change",
                hint="leave optimizations.feature_cache empty, or freeze it: train_vision: false "
                "(a projector inside the tower, as in Qwen-VL: train_projector: false)",
            )
        return cls(module)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights, except quantized ones."""
        return next(p.dtype for p in self.module.parameters() if p.is_floating_point())

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        tower_device: torch.device = next(self.module.parameters()).device
        return tower_device

    def capture_output(self, run: Callable[[], Any]) -> Any:
        """Return the output of the tower when `run` calls the model, without gradients.

        The forward pass stops there.

        Raises:
            UserError: If the model does not call the tower.
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
            raise unsupported_tower("the model does not call it for its images")
        return outputs[0]

    @contextlib.contextmanager
    def patched_forward(self, forward: Callable[..., Any]) -> Iterator[None]:
        """Replace the forward pass of the tower within the context."""
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
        """Return output classes by name: those of transformers and of the tower's module."""
        from transformers import modeling_outputs
        from transformers.utils import ModelOutput

        modules = [sys.modules[c.__module__] for c in type(self.module).__mro__]
        classes_by_name: dict[str, Any] = {}
        for module in [modeling_outputs, *reversed(modules)]:
            classes_by_name |= {k: v for k, v in vars(module).items() if isinstance(v, type)}
        return {k: v for k, v in classes_by_name.items() if issubclass(v, ModelOutput)}


@contextlib.contextmanager
def eval_mode(model: Any) -> Iterator[None]:
    """Put the model in evaluation mode and restore the mode of every module on exit."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


_IRRELEVANT_SETTINGS = ("_name_or_path", "transformers_version", "text_config")
"""Model settings that do not change the tower's output."""


class CachedFeatures(NamedTuple):
    """The images of a batch without their pixels."""

    tensors: dict[str, torch.Tensor]
    """Replace the processor's image tensors as model inputs; empty without images."""
    structure: feature_file.OutputStructure | None
    """Structure of the tower's output; None without images."""
    outputs: dict[int, torch.Tensor]
    """Its tensors by number, on the CPU."""


class VisionFeatureCache:
    """The outputs of one tower with one processor, in a folder that processes may share.

    Args:
        model: The model, with or without adapter.
        processor: Its processor.
        folder: The cache folder.
        autocast: Dtype of the tower's matrix products, if not its own.

    Raises:
        UserError: If the model has no vision tower, or it is trained.
    """

    def __init__(
        self, model: Any, processor: Any, folder: Path, *, autocast: torch.dtype | None = None
    ) -> None:
        self.model = model
        self.folder = folder
        self.tower = VisionTower.from_model(model)
        self.hits = self.created = self.rebuilt = 0
        """Rows whose file existed, was computed, or was recomputed in place of a corrupt one."""
        self._autocast = autocast
        self._classes = self.tower.output_classes()
        self._is_used: list[bool] | None = None
        """Which of the tower's tensors the model uses; None before the first row."""
        self._verified: dict[str, tuple[int, int]] = {}
        """Keys of verified files, with size and modification time."""
        base_model = getattr(model, "get_base_model", lambda: model)()
        settings = {
            k: v for k, v in base_model.config.to_dict().items() if k not in _IRRELEVANT_SETTINGS
        }
        weights = self.tower.module.state_dict()
        self._key_fields = {
            "tower": feature_file.hash_tensors(
                {k: v for k, v in weights.items() if torch.is_tensor(v)}
            ),
            "dtype": f"{self.tower.dtype}/{autocast}",
            "model": json.dumps(settings, sort_keys=True, default=str),
            "processor": f"{type(processor).__name__} {processor.image_processor.to_json_string()}",
            "transformers": transformers.__version__,
        }

    def key(self, images: Sequence[ImageInput]) -> str:
        """Return the key of a row's features: a hash of image bytes, budgets and settings."""
        image_keys = json.dumps([[p.sha256, p.max_pixels] for p in images])
        return answer_cache.hash_key({**self._key_fields, "pictures": image_keys})

    def ensure(self, images: Sequence[ImageInput], expand: Callable[[], ModelInputs]) -> str:
        """Compute and store the features of a row's images unless they are cached.

        Args:
            images: The images of the row.
            expand: Returns the row with its pixels; called only if no complete file exists.

        Returns:
            The key of the features.

        Raises:
            UserError: If the tower cannot be cached. Errors of `expand` are raised unchanged.
        """
        key = self.key(images)
        is_new = key not in self._verified
        try:
            if self._verified.get(key) != self._file_state(key):
                self._read(key)
            self.hits += is_new
            return key
        except FileNotFoundError:
            self.created += 1
        except CorruptFeatureFile:
            self.rebuilt += 1
        self._compute(key, expand())
        return key

    def load(self, keys: Sequence[str]) -> CachedFeatures:
        """Load the features of a batch, in order; a row without images has no key.

        Raises:
            UserError: If a file is missing or was changed since `ensure`.
        """
        if not keys:
            return CachedFeatures({}, None, {})
        try:
            rows = [self._read(key) for key in keys]
        except (FileNotFoundError, CorruptFeatureFile) as e:
            raise UserError(
                f"cached features are missing or were changed: {e}",
                hint="start again: they are recomputed",
            ) from None
        try:
            structure = feature_file.concat_structures([r.structure for r in rows])
        except ValueError as e:
            raise unsupported_tower(str(e)) from None
        outputs = {i: torch.cat([r.tensors[i] for r in rows]) for i in rows[0].tensors}
        return CachedFeatures(
            stack_tensors([r.placeholder_inputs() for r in rows]), structure, outputs
        )

    @contextlib.contextmanager
    def use_cached(self, cached: CachedFeatures) -> Iterator[None]:
        """Make the tower return cached features within the context; a no-op without images."""
        if cached.structure is None:
            yield
            return
        structure, first_call, device = cached.structure, iter("1"), self.tower.device

        def replay(*_: Any, **__: Any) -> Any:
            if next(first_call, "") == "":
                raise unsupported_tower("the model calls it more than once per batch")
            outputs = {i: t.to(device, non_blocking=True) for i, t in cached.outputs.items()}
            return feature_file.unflatten_output(structure, outputs, self._classes, device)

        with self.tower.patched_forward(replay):
            yield

    def summary(self) -> str:
        """Return one line: features cached and computed, and the size of the folder."""
        sizes = [f.st_size for f in feature_file.feature_file_stats(self.folder)]
        rebuilt = f", {self.rebuilt} recomputed" if self.rebuilt else ""
        return (
            f"vision features: {self.hits} cached, {self.created} computed{rebuilt}; "
            f"{len(sizes)} files, {sum(sizes) / 1e6:,.1f} MB in {self.folder}"
        )

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def _file_state(self, key: str) -> tuple[int, int]:
        stat = self.path(key).stat()
        return stat.st_size, stat.st_mtime_ns

    def _read(self, key: str) -> VisionFeatures:
        """Read the file of a key; its hash is checked at first and after each change."""
        state = self._file_state(key)
        features = feature_file.read_features(
            self.path(key), check=self._verified.get(key) != state
        )
        self._verified[key] = state
        return features

    def _compute(self, key: str, row: ModelInputs) -> None:
        is_first = self._is_used is None
        with eval_mode(self.model):
            output = self.tower.capture_output(lambda: self._logits([row]))
            try:
                structure, tensors = feature_file.flatten_output(output)
            except TypeError as e:
                raise unsupported_tower(str(e)) from None
            if self._is_used is None:
                self._is_used = self._used_tensors(row, structure, tensors)
            stored = {i: t for i, t in enumerate(tensors) if self._is_used[i]}
            constant, stored_inputs = feature_file.split_inputs(self._cast(row.tensors))
            feature_file.write_features(
                self.path(key), VisionFeatures(structure, stored, constant, stored_inputs)
            )
            self._verified[key] = self._file_state(key)
            if is_first:
                self._check_equivalence(key, row)

    def _used_tensors(
        self, row: ModelInputs, structure: feature_file.OutputStructure, tensors: list[torch.Tensor]
    ) -> list[bool]:
        """Return which of the tower's tensors the logits depend on."""
        leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in tensors]
        output = feature_file.unflatten_output(structure, dict(enumerate(leaves)), self._classes)
        with torch.enable_grad(), self.tower.patched_forward(lambda *_, **__: output):
            total = self._logits([row]).float().sum()
            differentiable = [t for t in leaves if t.requires_grad]
            gradients = iter(torch.autograd.grad(total, differentiable, allow_unused=True))
        return [not t.requires_grad or next(gradients) is not None for t in leaves]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _check_equivalence(self, key: str, row: ModelInputs) -> None:
        """Check that two cached rows in one batch give the logits of their images."""
        cached = self.load([key, key])
        expected = self._logits([row, row]).float()
        with self.use_cached(cached):
            replayed = self._logits([row, row], cached.tensors).float()
        tolerance = (0.01 if self.model.dtype == torch.float32 else 0.3) * expected.std()
        if not bool((expected - replayed).abs().max() <= tolerance):
            self.path(key).unlink()
            raise unsupported_tower("cached features give other logits than the images")

    def _logits(
        self, rows: Sequence[ModelInputs], image_inputs: dict[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Return logits of rows of equal length, with their own images or with placeholders."""
        device = self.tower.device
        pixel_inputs = (
            stack_tensors([r.tensors for r in rows]) if image_inputs is None else image_inputs
        )
        inputs = self._cast(pixel_inputs)
        inputs |= {k: torch.tensor([r.per_token[k] for r in rows]) for k in rows[0].per_token}
        inputs["input_ids"] = torch.tensor([r.ids for r in rows])
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs = {k: v.to(device) for k, v in inputs.items()}
        with torch.autocast(device.type, self._autocast, enabled=self._autocast is not None):
            logits: torch.Tensor = self.model(**inputs, use_cache=False).logits
        return logits

    def _cast(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the pixels in the tower's dtype, as inference does."""
        dtype = self.tower.dtype
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
