"""Every call to vLLM stands here: how the engine is opened, asked, and read.

Knows nothing of `Request` or `Completion`. The engine reads a folder of safetensors, runs no code
of a model's own, sends no usage statistics, and fetches no picture: it is handed pixels.
Written for vLLM 0.20 and later.

    engine = Engine(load_api(), Path("models/tiny"), None, {"dtype": "float32"})
    engine.ask([Asked(messages=[{"role": "user", "content": "Hi"}], parameters={"max_tokens": 8})])
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gen_msa.backends._logprobs import TokenLogprobs
from gen_msa.errors import MissingExtra, UserError

MAX_LOGPROBS = 64
"""Likeliest tokens that may be asked for; the probe of an adapter asks for all of them."""
MAX_IMAGES = 4
"""Pictures in one chat; the engine sets room aside for them when it starts."""
SEED = 0
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What the engine takes as `max_lora_rank`."""


@dataclass(frozen=True)
class VllmApi:
    """The names of vLLM that are used; a test puts its own in their place."""

    LLM: Any
    SamplingParams: Any
    StructuredOutputsParams: Any
    LoRARequest: Any
    rejection_errors: tuple[type[Exception], ...] = (ValueError, TypeError, OverflowError)
    """What vLLM raises for a request it will not take; anything else is its own trouble."""


@dataclass(frozen=True)
class EngineRequest:
    """One chat. `parameters` are those of `SamplingParams`; `form` of `StructuredOutputsParams`."""

    messages: list[dict[str, Any]]
    sampling_params: dict[str, Any]
    structured_outputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineOutput:
    """One answer; `finish` is vLLM's word (`stop`, `length`, `abort` …)."""

    text: str
    finish_reason: str | None
    prompt_tokens: int
    new_tokens: int
    steps: tuple[TokenLogprobs, ...] = ()


def load_vllm_api() -> VllmApi:
    """Import vLLM. Raises `MissingExtra` where it is not installed."""
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
        """`settings` go to `LLM` as they are. Raises `UserError` for what vLLM cannot load."""
        self._api = api
        lora: dict[str, Any] = {}
        self._adapter: Any = None
        if adapter is not None:
            lora = {"enable_lora": True, "max_loras": 1, "max_lora_rank": lora_rank(adapter)}
            self._adapter = api.LoRARequest(adapter.name, 1, str(adapter))
        try:
            self._llm = api.LLM(
                model=str(model),
                trust_remote_code=False,
                load_format="safetensors",
                seed=SEED,
                limit_mm_per_prompt={"image": MAX_IMAGES},
                max_logprobs=MAX_LOGPROBS,
                # A setting of the engine: the one of a request is not looked at. Without it
                # answers in JSON can go on with blanks until the token limit.
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
                **lora,
                **settings,
            )
        except (ValueError, RuntimeError, OSError) as e:
            raise UserError(f"vLLM cannot load {model}: {e}", hint="see its log above") from None
        self.rejection_errors = api.rejection_errors

    @property
    def supports_images(self) -> bool:
        """Whether the model takes anything but text."""
        return bool(self._llm.model_config.is_multimodal_model)

    @property
    def control_tokens(self) -> frozenset[str]:
        """The tokenizer's special and added tokens."""
        tokenizer = self._llm.get_tokenizer()
        tokens = {*map(str, tokenizer.all_special_tokens), *tokenizer.get_added_vocab()}
        return frozenset(s for s in tokens if s.strip())

    def generate(self, requests: Sequence[EngineRequest], *, use_adapter: bool = True) -> list[EngineOutput]:
        """One answer for each, in order. Raises one of `refusals` if any of them is not taken."""
        outputs = self._llm.chat(
            [a.messages for a in requests],
            [self._sampling_params(a) for a in requests],
            use_tqdm=False,
            lora_request=self._adapter if use_adapter else None,
        )
        return [_to_engine_output(output) for output in outputs]

    def next_token_scores(
        self, text: str, image: Any | None, *, use_adapter: bool
    ) -> tuple[tuple[int, ...], dict[int, float]]:
        """The prompt's tokens, and log-probabilities (nats) of the likeliest tokens after it."""
        text_part = {"type": "text", "text": text}
        content = [{"type": "image_pil", "image_pil": image}, text_part] if image else text
        sampling = {"max_tokens": 1, "temperature": 0.0, "seed": SEED, "logprobs": MAX_LOGPROBS}
        (output,) = self._llm.chat(
            [[{"role": "user", "content": content}]],
            [self._api.SamplingParams(**sampling)],
            use_tqdm=False,
            lora_request=self._adapter if use_adapter else None,
        )
        top_logprobs = output.outputs[0].logprobs[0]
        scores = {int(token): float(x.logprob) for token, x in top_logprobs.items()}
        return tuple(output.prompt_token_ids or ()), scores

    def _sampling_params(self, request: EngineRequest) -> Any:
        structured_outputs = self._api.StructuredOutputsParams(**request.structured_outputs) if request.structured_outputs else None
        return self._api.SamplingParams(**request.sampling_params, structured_outputs=structured_outputs)


def lora_rank(adapter: Path) -> int:
    """The smallest rank the engine takes that the adapter fits in.

    Raises `UserError` for a folder without a readable `adapter_config.json`.
    """
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
        return next(r for r in _LORA_RANKS if r >= rank)
    except StopIteration:
        raise UserError(f"{path}: vLLM takes ranks up to {_LORA_RANKS[-1]}, not {rank}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path} cannot be read: {e}", hint="name a peft adapter") from None


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
