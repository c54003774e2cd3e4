"""A model in vLLM's offline engine: `vllm:MODEL[@ADAPTER]`, for thousands of posts on a GPU.

MODEL and ADAPTER are folders, or hub names that already lie in the local cache. A label slot is
enforced as a regular expression, so that answers read as they do in training; a request without
one gets its JSON schema enforced. vLLM is imported only when a reader names it; all calls to it
stand in `vllm_engine`. Knows nothing of sentiment.

    gen-msa explain posts.jsonl --reader vllm:models/qwen3-vl-8b@runs/mabsa
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gen_msa import media
from gen_msa.backends._calling import shorten
from gen_msa.backends._logprobs import option_logprobs
from gen_msa.backends._messages import build_messages
from gen_msa.backends._options import warn_ignored
from gen_msa.backends._slots import slot_pattern
from gen_msa.backends.base import BackendOptions, backends
from gen_msa.backends.vllm_engine import MAX_IMAGES, VllmApi, EngineRequest, VllmEngine, EngineOutput, load_vllm_api
from gen_msa.chat import Chat, Completion, ImageInput, Request
from gen_msa.errors import UserError

TOP_LOGPROBS = 20
LISTS_ASPECTS_MIN_BYTES = 1_000_000_000
"""Bytes of weights from which on a model is asked to list a post's aspects itself."""
_SUPPORTED_OPTIONS = {"dtype", "share_prefix"}
_FINISH_REASONS = {"stop": "stop", "length": "length"}


@backends.register
class VllmBackend:
    """An engine in this process."""

    samples = True

    def __init__(self, target: str, options: BackendOptions, *, api: VllmApi | None = None) -> None:
        """Raises `MissingExtra` without vLLM, `UserError` for what is no model or adapter."""
        warn_ignored("vllm", options, _SUPPORTED_OPTIONS)
        api = api or load_vllm_api()
        from gen_msa.backends.local import served, weights

        model, adapter = weights.resolve_target(target)
        weights.check_folder(model, "model")
        if adapter is not None:
            weights.check_folder(adapter, "adapter")
        self.training_metadata, self._notes = served.load_verified_metadata(model, adapter)
        settings = {"dtype": options.dtype, "enable_prefix_caching": options.share_prefix}
        self._engine = VllmEngine(api, model, adapter, settings)
        self._control_tokens = self._engine.control_tokens
        self.supports_images = self._engine.supports_images
        self.can_list_aspects = _weight_bytes(model) >= LISTS_ASPECTS_MIN_BYTES
        parts = [weights.folder_revision(folder) for folder in (model, adapter) if folder]
        self.revision = f"vllm/{'+'.join(parts)}/{options.dtype}"
        self._check_probe(adapter or model, has_adapter=adapter is not None, dtype=options.dtype)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order. Never raises for a single bad request."""
        completions: dict[int, Completion] = {}
        rows: list[tuple[int, Request, EngineRequest, dict[str, str]]] = []
        for i, request in enumerate(requests):
            try:
                engine_request, notes = self._build_request(request)
                rows.append((i, request, engine_request, {**self._notes, **notes}))
            except (media.ImageError, OSError, ValueError, UserError) as e:
                completions[i] = _error_completion(str(e))
        outputs = self._generate([engine_request for _, _, engine_request, _ in rows])
        for (i, request, engine_request, notes), output in zip(rows, outputs, strict=True):
            completions[i] = output if isinstance(output, Completion) else _to_completion(request, engine_request, output, notes)
        return [completions[i] for i in range(len(requests))]

    def count_tokens(self, chat: Chat) -> None:
        """None: the engine lays a chat out only when it is asked."""

    def _check_probe(self, folder: Path, *, has_adapter: bool, dtype: str) -> None:
        """Refuse an engine that does not answer the adapter's probe as training did."""
        from gen_msa.backends.local import served

        recorded_probe = self.training_metadata.probe if self.training_metadata else None
        if not has_adapter and recorded_probe is None:
            return
        question = served.probe_question(recorded_probe)
        adapted_response = served.ProbeResponse(*self._engine.next_token_scores(*question, use_adapter=True))
        base_response = served.ProbeResponse(*self._engine.next_token_scores(*question, use_adapter=False)) if has_adapter else None
        # What `auto` comes to is the engine's own affair; on no machine is it coarser than this.
        precision = "bfloat16" if dtype == "auto" else dtype
        served.check_remote_probe(folder, recorded_probe, adapted=adapted_response, base=base_response, precision=precision)
        if recorded_probe is None:
            self._notes["adapter.probe"] = "its effect was seen; no recorded one to compare with"

    def _build_request(self, request: Request) -> tuple[EngineRequest, dict[str, str]]:
        if len(request.chat.images) > MAX_IMAGES:
            raise ValueError(f"{len(request.chat.images)} pictures; at most {MAX_IMAGES}")
        turns, n_escaped = build_messages(request.chat, _image_part, self._control_tokens)
        sampling_params: dict[str, Any] = {
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        structured_outputs: dict[str, Any] = {}
        if request.choice is not None:
            sampling_params["logprobs"] = TOP_LOGPROBS
            structured_outputs = {"regex": slot_pattern(request.choice)}
        elif request.json_schema is not None:
            structured_outputs = {"json": request.json_schema}
        return EngineRequest(turns, sampling_params, structured_outputs), {"neutralised": str(n_escaped)} if n_escaped else {}

    def _generate(self, requests: Sequence[EngineRequest]) -> list[EngineOutput | Completion]:
        """Ask all at once; where the engine will not take one of them, find it by halves."""
        if not requests:
            return []
        try:
            return [*self._engine.generate(requests)]
        except self._engine.rejection_errors as e:
            if len(requests) == 1:
                return [_error_completion(f"vLLM will not take it: {shorten(str(e))}")]
        half = len(requests) // 2
        return self._generate(requests[:half]) + self._generate(requests[half:])


def _image_part(image: ImageInput) -> dict[str, Any]:
    return {"type": "image_pil", "image_pil": media.load_image(image)}


def _to_completion(request: Request, engine_request: EngineRequest, output: EngineOutput, notes: dict[str, str]) -> Completion:
    if output.finish_reason not in _FINISH_REASONS:
        return _error_completion(f"the engine stopped: {output.finish_reason}")
    form = "slot" if "regex" in engine_request.structured_outputs else "schema" if engine_request.structured_outputs else "free"
    logprobs = None
    if request.choice is not None:
        logprobs, note = option_logprobs(output.steps, request.choice, None)
        notes = notes | ({"option_logprobs": note} if note else {})
    return Completion(
        text=output.text,
        finish_reason="length" if output.finish_reason == "length" else "stop",
        option_logprobs=logprobs,
        prompt_tokens=output.prompt_tokens,
        new_tokens=output.new_tokens,
        notes={"form": form, **notes},
    )


def _error_completion(reason: str) -> Completion:
    return Completion(text="", finish_reason="error", error=reason, notes={"form": "free"})


def _weight_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("*.safetensors"))
