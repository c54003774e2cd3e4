"""A model in vLLM's offline engine: `vllm:MODEL[@ADAPTER]`, for thousands of posts on a GPU.

MODEL and ADAPTER are folders, or hub names that are in the local cache. A label slot is enforced as
a regular expression, so that answers have the form of training; a request without one gets its JSON
schema enforced. vLLM is imported only when the backend is named; every call to vLLM is in
`load_vllm_api` and `VllmEngine`.

    gen-msa explain posts.jsonl --model vllm:models/qwen3-vl-8b@runs/mabsa
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gen_msa import media
from gen_msa.backends._http_call import shorten
from gen_msa.backends._label_slot import TokenLogprobs, option_logprobs, slot_pattern
from gen_msa.backends.base import BackendOptions, backends, warn_ignored
from gen_msa.backends.hf.chat_tokens import fixed_date_arguments
from gen_msa.chat import Chat, Completion, ImageInput, Request, build_messages
from gen_msa.errors import MissingExtra, UserError, user_errors

MAX_LOGPROBS = 64
"""Largest number of likeliest tokens per request; the probe of an adapter needs all of them."""
MAX_IMAGES = 4
"""Largest number of images in a chat; the engine reserves memory for them when it starts."""
SEED = 0
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values of `max_lora_rank` that vLLM takes."""


@dataclass(frozen=True)
class VllmApi:
    """The names of vLLM that are used; a test can pass its own."""

    LLM: Any
    SamplingParams: Any
    StructuredOutputsParams: Any
    LoRARequest: Any
    rejection_errors: tuple[type[Exception], ...] = (ValueError, TypeError, OverflowError)
    """Errors by which vLLM refuses a request; any other error is a failure of the engine."""


@dataclass(frozen=True)
class EngineRequest:
    """One chat.

    `sampling_params` are arguments of `SamplingParams`, `structured_outputs` those of
    `StructuredOutputsParams`.
    """

    messages: list[dict[str, Any]]
    sampling_params: dict[str, Any]
    structured_outputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineOutput:
    """One answer; `finish_reason` is vLLM's own (`stop`, `length`, `abort` …)."""

    text: str
    finish_reason: str | None
    prompt_tokens: int
    new_tokens: int
    steps: tuple[TokenLogprobs, ...] = ()


def load_vllm_api() -> VllmApi:
    """Import vLLM.

    Raises:
        MissingExtra: vLLM is not installed.
    """
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        import vllm
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import SamplingParams, StructuredOutputsParams
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] != "vllm":
            raise
        raise MissingExtra("vllm", "vllm") from None
    client_error = getattr(getattr(vllm, "exceptions", None), "VLLMClientError", ValueError)
    rejection_errors = (ValueError, TypeError, OverflowError, client_error)
    return VllmApi(vllm.LLM, SamplingParams, StructuredOutputsParams, LoRARequest, rejection_errors)


class VllmEngine:
    """An engine with one model and at most one adapter."""

    def __init__(
        self, api: VllmApi, model: Path, adapter: Path | None, settings: dict[str, Any]
    ) -> None:
        """Load the model.

        Args:
            api: Names of vLLM.
            model: The model's folder.
            adapter: The adapter's folder; None for none.
            settings: Further arguments of `LLM`.

        Raises:
            UserError: vLLM cannot load the model.
        """
        self._api = api
        lora: dict[str, Any] = {}
        self._adapter: Any = None
        if adapter is not None:
            lora = {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora_rank(adapter)}
            self._adapter = api.LoRARequest(adapter.name, 1, str(adapter))
        with user_errors(f"vLLM: {model}", "cannot be loaded", hint="see its log above"):
            self._llm = api.LLM(
                model=str(model),
                trust_remote_code=False,
                load_format="safetensors",
                seed=SEED,
                limit_mm_per_prompt={"image": MAX_IMAGES},
                max_logprobs=MAX_LOGPROBS,
                # An engine setting; that of a request is ignored. Without it answers in JSON can
                # continue with blanks until the token limit.
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
                **lora,
                **settings,
            )
        self.rejection_errors = api.rejection_errors

    @property
    def supports_images(self) -> bool:
        """Return whether the model takes more than text."""
        return bool(self._llm.model_config.is_multimodal_model)

    @property
    def control_tokens(self) -> frozenset[str]:
        """Return the tokenizer's special and added tokens."""
        tokenizer = self._llm.get_tokenizer()
        tokens = {*map(str, tokenizer.all_special_tokens), *tokenizer.get_added_vocab()}
        return frozenset(s for s in tokens if s.strip())

    def generate(
        self, requests: Sequence[EngineRequest], *, use_adapter: bool = True
    ) -> list[EngineOutput]:
        """Answer chats.

        Args:
            requests: The chats.
            use_adapter: Apply the adapter, if there is one.

        Returns:
            One answer for each, in order.

        Raises:
            Exception: One of `rejection_errors` if vLLM refuses any of the requests.
        """
        outputs = self._llm.chat(
            [r.messages for r in requests],
            [self._sampling_params(r) for r in requests],
            use_tqdm=False,
            lora_request=self._adapter if use_adapter else None,
            **self._fixed_date(),
        )
        return [_to_engine_output(output) for output in outputs]

    def next_token_scores(
        self, text: str, image: Any | None, *, use_adapter: bool
    ) -> tuple[tuple[int, ...], dict[int, float]]:
        """Ask for the next token after a prompt.

        Args:
            text: The user's turn.
            image: PIL image before the text; None for none.
            use_adapter: Apply the adapter, if there is one.

        Returns:
            The prompt's token ids, and the log-probabilities (nats) of the likeliest next tokens by
                id.
        """
        text_part = {"type": "text", "text": text}
        content = [{"type": "image_pil", "image_pil": image}, text_part] if image else text
        sampling = {"max_tokens": 1, "temperature": 0.0, "seed": SEED, "logprobs": MAX_LOGPROBS}
        (output,) = self._llm.chat(
            [[{"role": "user", "content": content}]],
            [self._api.SamplingParams(**sampling)],
            use_tqdm=False,
            lora_request=self._adapter if use_adapter else None,
            **self._fixed_date(),
        )
        top_logprobs = output.outputs[0].logprobs[0]
        scores = {int(token): float(x.logprob) for token, x in top_logprobs.items()}
        return tuple(output.prompt_token_ids or ()), scores

    def _fixed_date(self) -> dict[str, Any]:
        """Return arguments under which a template that shows the date shows a fixed one."""
        return fixed_date_arguments(getattr(self._llm.get_tokenizer(), "chat_template", ""))

    def _sampling_params(self, request: EngineRequest) -> Any:
        structured_outputs = (
            self._api.StructuredOutputsParams(**request.structured_outputs)
            if request.structured_outputs
            else None
        )
        return self._api.SamplingParams(
            **request.sampling_params, structured_outputs=structured_outputs
        )


_NOT_SERVED = {
    "use_dora": "DoRA (use_dora)",
    "modules_to_save": "modules that are saved whole (modules_to_save)",
    "trainable_token_indices": "trained tokens (trainable_token_indices)",
}
"""Keys of an adapter's settings that vLLM refuses or ignores when they are set."""


def lora_rank(adapter: Path) -> int:
    """Return the smallest rank that vLLM takes and that the adapter fits in.

    Args:
        adapter: The adapter's folder.

    Raises:
        UserError: It has no readable `adapter_config.json`, a rank over 512, or parts that vLLM
            does not serve (DoRA, modules saved whole, trained tokens).
    """
    path = adapter / "adapter_config.json"
    with user_errors(path, hint="name a peft adapter"):
        config = json.loads(path.read_text(encoding="utf-8"))
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
        if part := next((name for key, name in _NOT_SERVED.items() if config.get(key)), None):
            raise UserError(
                f"{path}: vLLM serves no adapter with {part}",
                hint=f"merge it first: gen-msa export {adapter} --merge",
            )
        if rank > _LORA_RANKS[-1]:
            raise UserError(f"{path}: vLLM takes ranks up to {_LORA_RANKS[-1]}, not {rank}")
        return next(r for r in _LORA_RANKS if r >= rank)


def _to_engine_output(output: Any) -> EngineOutput:
    answer = output.outputs[0]
    steps = []
    for token, candidates in zip(answer.token_ids, answer.logprobs or (), strict=False):
        top = tuple(((x.decoded_token or "").encode(), x.logprob) for x in candidates.values())
        chosen = candidates[token]
        steps.append(TokenLogprobs((chosen.decoded_token or "").encode(), chosen.logprob, top))
    return EngineOutput(
        text=answer.text,
        finish_reason=answer.finish_reason,
        prompt_tokens=len(output.prompt_token_ids or ()),
        new_tokens=len(answer.token_ids),
        steps=tuple(steps),
    )


TOP_LOGPROBS = 20
LISTS_ASPECTS_MIN_BYTES = 1_000_000_000
"""Bytes of weights from which a model is asked to list a post's aspects itself."""
_SUPPORTED_OPTIONS = {"dtype", "share_prefix"}
_FINISH_REASONS = {"stop": "stop", "length": "length"}


@backends.register
class VllmBackend:
    """An engine in this process."""

    samples = True

    def __init__(self, target: str, options: BackendOptions, *, api: VllmApi | None = None) -> None:
        """Load model and adapter and verify the adapter's probe.

        Args:
            target: `MODEL[@ADAPTER]`.
            options: Options common to all backends.
            api: Names of vLLM; imported if not given.

        Raises:
            MissingExtra: vLLM is not installed.
            UserError: A folder is not a model or adapter, or the engine does not answer as in
                training.
        """
        warn_ignored("vllm", options, _SUPPORTED_OPTIONS)
        api = api or load_vllm_api()
        from gen_msa.backends.hf import remote_probe, weights

        model, adapter = weights.resolve_target(target)
        weights.check_folder(model, "model")
        if adapter is not None:
            weights.check_folder(adapter, "adapter")
        self.training_metadata, self._notes = remote_probe.load_verified_metadata(model, adapter)
        settings = {"dtype": options.dtype, "enable_prefix_caching": options.share_prefix}
        self._engine = VllmEngine(api, model, adapter, settings)
        self._control_tokens = self._engine.control_tokens
        self.supports_images = self._engine.supports_images
        self.can_list_aspects = _weight_bytes(model) >= LISTS_ASPECTS_MIN_BYTES
        parts = [weights.folder_revision(folder) for folder in (model, adapter) if folder]
        self.revision = f"vllm/{'+'.join(parts)}/{options.dtype}"
        self._check_probe(adapter or model, has_adapter=adapter is not None, dtype=options.dtype)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete requests.

        Returns:
            One completion for each request, in order. A bad request gives a completion with
            `finish_reason="error"`; the others are completed.
        """
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
            completions[i] = (
                output
                if isinstance(output, Completion)
                else _to_completion(request, engine_request, output, notes)
            )
        return [completions[i] for i in range(len(requests))]

    def count_tokens(self, chat: Chat) -> None:
        """Return None: the engine tokenizes a chat only when it completes it."""

    def _check_probe(self, folder: Path, *, has_adapter: bool, dtype: str) -> None:
        """Refuse an engine that does not answer the adapter's probe as in training."""
        from gen_msa.backends.hf import remote_probe

        recorded_probe = self.training_metadata.probe if self.training_metadata else None
        if not has_adapter and recorded_probe is None:
            return
        question = remote_probe.probe_question(recorded_probe)
        adapted_response = remote_probe.ProbeResponse(
            *self._engine.next_token_scores(*question, use_adapter=True)
        )
        base_response = (
            remote_probe.ProbeResponse(
                *self._engine.next_token_scores(*question, use_adapter=False)
            )
            if has_adapter
            else None
        )
        # The engine chooses what `auto` means; it is never coarser than bfloat16.
        precision = "bfloat16" if dtype == "auto" else dtype
        remote_probe.check_remote_probe(
            folder,
            recorded_probe,
            adapted=adapted_response,
            base=base_response,
            precision=precision,
        )
        if recorded_probe is None:
            self._notes["adapter.probe"] = "it has an effect; no recorded probe to compare with"

    def _build_request(self, request: Request) -> tuple[EngineRequest, dict[str, str]]:
        if len(request.chat.images) > MAX_IMAGES:
            raise ValueError(f"{len(request.chat.images)} images; at most {MAX_IMAGES} are allowed")
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
        notes = {"escaped_control_tokens": str(n_escaped)} if n_escaped else {}
        return EngineRequest(turns, sampling_params, structured_outputs), notes

    def _generate(self, requests: Sequence[EngineRequest]) -> list[EngineOutput | Completion]:
        """Answer all at once; where the engine refuses a request, find it by halving."""
        if not requests:
            return []
        try:
            return [*self._engine.generate(requests)]
        except self._engine.rejection_errors as e:
            if len(requests) == 1:
                return [_error_completion(f"vLLM refuses the request: {shorten(str(e))}")]
        half = len(requests) // 2
        return self._generate(requests[:half]) + self._generate(requests[half:])


def _image_part(image: ImageInput) -> dict[str, Any]:
    return {"type": "image_pil", "image_pil": media.load_image(image)}


def _to_completion(
    request: Request, engine_request: EngineRequest, output: EngineOutput, notes: dict[str, str]
) -> Completion:
    if output.finish_reason not in _FINISH_REASONS:
        return _error_completion(f"the engine stopped: {output.finish_reason}")
    form = (
        "slot"
        if "regex" in engine_request.structured_outputs
        else "schema"
        if engine_request.structured_outputs
        else "free"
    )
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
