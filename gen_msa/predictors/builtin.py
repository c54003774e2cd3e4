"""The packaged model: a small multimodal LLM, with an adapter trained on it.

`builtin:FOLDER` uses another adapter. Without any adapter the model is zero-shot and weak, and gets
no images, because its projector is untrained; `eval/bench/README.md` has its metrics.

    gen-msa explain posts.jsonl --model builtin
"""

import tempfile
import warnings
from pathlib import Path
from typing import Any

from gen_msa import builtin, manifest
from gen_msa.backends import BackendOptions
from gen_msa.errors import CacheWarning
from gen_msa.predictors.base import Predictor, PredictorSettings, predictors
from gen_msa.predictors.prompted import PromptedPredictor, apply_training_settings


@predictors.register
def make(target: str, settings: PredictorSettings, media_root: Path) -> Predictor:
    """Build the packaged model; `target` is the folder of another adapter, or "".

    Args:
        target: Folder of another adapter, or "".
        settings: All settings.
        media_root: Folder that image paths are relative to.

    Returns:
        The predictor.
    """
    adapter = Path(target).expanduser() if target else builtin.adapter_folder()
    builtin.model_revision()  # names what is not installed, so it comes before the imports
    backend = (
        _adapted_backend(adapter, settings.backend) if adapter else _base_backend(settings.backend)
    )
    if adapter:
        settings = apply_training_settings(settings, backend.training_metadata)
    backend.can_list_aspects = False
    # Untrained small models imitate examples better than they follow instructions.
    return PromptedPredictor(
        backend, settings, media_root, prompt="predict/full" if adapter else "predict/shots"
    )


def _base_backend(options: BackendOptions) -> Any:
    from gen_msa.backends.hf import weights
    from gen_msa.backends.transformers import TransformersBackend

    target = str(builtin.model_folder())
    model, processor, revision = weights.load_model_and_processor(target, options)
    # An untrained projector turns an image into noise, so show none.
    return TransformersBackend.from_model(model, processor.tokenizer, options, revision)


def _adapted_backend(adapter: Path, options: BackendOptions) -> Any:
    """Return the model with an adapter: from the cache, or merged and stored there."""
    from gen_msa.backends.hf import devices
    from gen_msa.backends.transformers import TransformersBackend

    device = devices.resolve_device(options.device)
    is_cached_kind = device == "cpu" and options.dtype in ("auto", "float32")
    # A folder that is missing, or a name in the local hub cache, gets its error where it is loaded.
    if not is_cached_kind or not adapter.is_dir():
        return TransformersBackend(f"{builtin.model_folder()}@{adapter}", options)
    try:
        return _cached_backend(adapter, options)
    except OSError as e:
        warnings.warn(
            f"the builtin model cannot be stored in {builtin.cache_folder()}"
            f" ({e.strerror or e}): every start assembles it again, which takes half a minute;"
            " set GEN_MSA_CACHE to a writable folder",
            CacheWarning,
            stacklevel=2,
        )
    with tempfile.TemporaryDirectory(prefix="gen-msa-", ignore_cleanup_errors=True) as folder:
        return TransformersBackend(f"{builtin.model_folder(Path(folder))}@{adapter}", options)


def _cached_backend(adapter: Path, options: BackendOptions) -> Any:
    """Return the model from the cache, where it is stored first if it is not there or damaged.

    Raises:
        OSError: The cache folder cannot be written.
    """
    from gen_msa.backends.hf import adapters
    from gen_msa.backends.transformers import TransformersBackend
    from gen_msa.builtin import merged_model

    folder = merged_model.merged_folder(adapter)
    if not manifest.is_intact(folder):
        backend = _merge_and_store(adapter, options, folder)
        if backend is not None:
            return backend
    model, processor, record = merged_model.load(folder)
    metadata = adapters.read_metadata(adapter)
    if metadata is not None:
        adapters.check_template(metadata, processor, adapter)
    return TransformersBackend.from_model(
        model, processor, options, record.revision, metadata=metadata, notes=record.notes
    )


def _merge_and_store(adapter: Path, options: BackendOptions, folder: Path) -> Any:
    """Store the merged model; return a backend only for one that must not be stored."""
    from filelock import FileLock

    from gen_msa.backends.hf import weights
    from gen_msa.backends.transformers import TransformersBackend
    from gen_msa.builtin import merged_model

    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
    except NotImplementedError as e:  # a file system without locks
        raise OSError(str(e)) from None
    with lock:
        if manifest.is_intact(folder):  # another process stored it in the meantime
            return None
        loaded = weights.load_inference_model(f"{builtin.model_folder()}@{adapter}", options)
        if not merged_model.is_storable(loaded.model):
            return TransformersBackend.from_model(
                loaded.model,
                loaded.processor,
                options,
                loaded.revision,
                metadata=loaded.metadata,
                notes=loaded.notes,
            )
        record = merged_model.MergeRecord(revision=loaded.revision, notes=loaded.notes)
        merged_model.store(loaded.model, loaded.processor, record, folder)
    return None
