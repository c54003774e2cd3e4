"""The memory of a frozen vision tower: what it said about each row's pictures, kept on disk.

A row's pictures are shown to the tower once; from then on, in this run and the next, its answer is
read from a file, and the pixels need not even be decoded. Only what the model goes on to use is
kept: which of the tower's tensors those are is asked of the model itself, and that recalling
changes nothing is checked on the first pictures. Any family; nothing is known of recipes or rows.

    memory = Memory(model, processor, Path("features"))
    key = memory.keep(pictures, lambda: expander.expand(row))
    recalled = memory.load([key])                       # in any thread
    with memory.recalling(recalled):
        model(input_ids=..., **recalled.tensors)
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

# The vision tower of a model: found, listened to, and made to say something else for a while.


class _StopForward(Exception):
    """The tower has spoken: what comes after it is not needed."""


def unsupported_tower(reason: str) -> UserError:
    """The error for a model whose tower cannot be remembered."""
    return UserError(
        f"optimizations.feature_cache: this model's vision tower cannot be remembered: {reason}",
        hint='leave optimizations.feature_cache empty: ""',
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
                f"optimizations.feature_cache: {name} is trained ({len(trainable_names)} tensors, the first "
                f"{trainable_names[0]}), so what it says changes",
                hint="leave optimizations.feature_cache empty, or freeze it: train_vision: false "
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


_IRRELEVANT_SETTINGS = ("_name_or_path", "transformers_version", "text_config")
"""Settings of a model that do not change what its tower says."""


class CachedFeatures(NamedTuple):
    """The pictures of a batch without their pixels."""

    tensors: dict[str, torch.Tensor]
    """What the model is given in place of the processor's tensors; empty without pictures."""
    structure: feature_file.OutputStructure | None
    """How what the tower is to say is put together; None without pictures."""
    outputs: dict[int, torch.Tensor]
    """The tensors of it, on the CPU."""


class VisionFeatureCache:
    """What one tower said under one processor, in a folder that several processes may share."""

    def __init__(
        self, model: Any, processor: Any, folder: Path, *, autocast: torch.dtype | None = None
    ) -> None:
        """`autocast`: the precision of the tower's matrix products, where it is not its own.

        Raises `UserError` for a model without a vision tower, and for a tower that is trained.
        """
        self.model = model
        self.folder = folder
        self.tower = VisionTower.from_model(model)
        self.hits = self.created = self.rebuilt = 0
        """Files that were there, that were made, and that were made anew in place of a bad one."""
        self._autocast = autocast
        self._classes = self.tower.output_classes()
        self._is_used: list[bool] | None = None
        """Which of the tower's tensors the model uses; None until a row has been made."""
        self._verified: dict[str, tuple[int, int]] = {}
        """Keys whose file was whole, with its size and time of change."""
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
        """The name of a row's features: hashes of pictures' bytes, their budget, all settings."""
        image_keys = json.dumps([[p.sha256, p.max_pixels] for p in images])
        return answer_cache.hash_key({**self._key_fields, "pictures": image_keys})

    def ensure(self, images: Sequence[ImageInput], expand: Callable[[], ModelInputs]) -> str:
        """Have the features of a row's pictures in the folder; their key.

        `expand` gives the row with its pixels; it is called only where a whole file is not there
        yet. Raises what `expand` raises, and `UserError` for a model that cannot be remembered.
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
        """The features of a batch's rows, in order; a row without pictures has no key.

        Raises `UserError` for features that are gone or altered since they were kept.
        """
        if not keys:
            return CachedFeatures({}, None, {})
        try:
            rows = [self._read(key) for key in keys]
        except (FileNotFoundError, CorruptFeatureFile) as e:
            raise UserError(
                f"remembered features are gone or altered: {e}",
                hint="start again: they are made anew",
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
        """Within it, the tower says what it said before. Does nothing for rows without pictures."""
        if cached.structure is None:
            yield
            return
        structure, first_call, device = cached.structure, iter("1"), self.tower.device

        def replay(*_: Any, **__: Any) -> Any:
            if next(first_call, "") == "":
                raise unsupported_tower("the model calls it more than once a batch")
            outputs = {i: t.to(device, non_blocking=True) for i, t in cached.outputs.items()}
            return feature_file.unflatten_output(structure, outputs, self._classes, device)

        with self.tower.patched_forward(replay):
            yield

    def summary(self) -> str:
        """One line: how many were found and made, and the size of the whole folder."""
        sizes = [f.st_size for f in feature_file.feature_file_stats(self.folder)]
        rebuilt = f", {self.rebuilt} made anew" if self.rebuilt else ""
        return (
            f"vision features: {self.hits} found, {self.created} made{rebuilt}; "
            f"{len(sizes)} files, {sum(sizes) / 1e6:,.1f} MB in {self.folder}"
        )

    def path(self, key: str) -> Path:
        """Where the features of a key lie."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def _file_state(self, key: str) -> tuple[int, int]:
        facts = self.path(key).stat()
        return facts.st_size, facts.st_mtime_ns

    def _read(self, key: str) -> VisionFeatures:
        """The file of a key, hashed when it is first seen or has changed since."""
        state = self._file_state(key)
        features_read = feature_file.read_features(
            self.path(key), check=self._verified.get(key) != state
        )
        self._verified[key] = state
        return features_read

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
        """Which of the tower's tensors the model's scores depend on."""
        leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in tensors]
        output = feature_file.unflatten_output(structure, dict(enumerate(leaves)), self._classes)
        with torch.enable_grad(), self.tower.patched_forward(lambda *_, **__: output):
            total = self._logits([row]).float().sum()
            differentiable = [t for t in leaves if t.requires_grad]
            gradients = iter(torch.autograd.grad(total, differentiable, allow_unused=True))
        return [not t.requires_grad or next(gradients) is not None for t in leaves]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _check_equivalence(self, key: str, row: ModelInputs) -> None:
        """Recalling two rows in one batch must score as showing them does."""
        cached = self.load([key, key])
        expected = self._logits([row, row]).float()
        with self.use_cached(cached):
            replayed = self._logits([row, row], cached.tensors).float()
        tolerance = (0.01 if self.model.dtype == torch.float32 else 0.3) * expected.std()
        if not bool((expected - replayed).abs().max() <= tolerance):
            self.path(key).unlink()
            raise unsupported_tower("what is recalled does not score as what is seen")

    def _logits(
        self, rows: Sequence[ModelInputs], image_inputs: dict[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Scores of rows of one length, shown with their own pictures or with stand-ins."""
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
        """Pixels in the tower's precision, as reading gives them."""
        dtype = self.tower.dtype
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
