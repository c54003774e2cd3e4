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

from gen_msa.backends._logprobs import Step
from gen_msa.errors import MissingExtra, UserError

WATCHED = 64
"""Likeliest tokens that may be asked for; the probe of an adapter asks for all of them."""
MOST_PICTURES = 4
"""Pictures in one chat; the engine sets room aside for them when it starts."""
SEED = 0
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What the engine takes as `max_lora_rank`."""


@dataclass(frozen=True)
class Api:
    """The names of vLLM that are used; a test puts its own in their place."""

    LLM: Any
    SamplingParams: Any
    StructuredOutputsParams: Any
    LoRARequest: Any
    refusals: tuple[type[Exception], ...] = (ValueError, TypeError, OverflowError)
    """What vLLM raises for a request it will not take; anything else is its own trouble."""


@dataclass(frozen=True)
class Asked:
    """One chat. `parameters` are those of `SamplingParams`; `form` of `StructuredOutputsParams`."""

    messages: list[dict[str, Any]]
    parameters: dict[str, Any]
    form: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """One answer; `finish` is vLLM's word (`stop`, `length`, `abort` …)."""

    text: str
    finish: str | None
    prompt_tokens: int
    new_tokens: int
    steps: tuple[Step, ...] = ()


def load_api() -> Api:
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
    own = getattr(getattr(vllm, "exceptions", None), "VLLMClientError", ValueError)
    refusals = (ValueError, TypeError, OverflowError, own)
    return Api(vllm.LLM, SamplingParams, StructuredOutputsParams, LoRARequest, refusals)


class Engine:
    """An engine with one model and at most one adapter."""

    def __init__(
        self, api: Api, model: Path, adapter: Path | None, settings: dict[str, Any]
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
                limit_mm_per_prompt={"image": MOST_PICTURES},
                max_logprobs=WATCHED,
                # A setting of the engine: the one of a request is not looked at. Without it
                # answers in JSON can go on with blanks until the token limit.
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
                **lora,
                **settings,
            )
        except (ValueError, RuntimeError, OSError) as e:
            raise UserError(f"vLLM cannot load {model}: {e}", mend="see its log above") from None
        self.refusals = api.refusals

    @property
    def sees_pictures(self) -> bool:
        """Whether the model takes anything but text."""
        return bool(self._llm.model_config.is_multimodal_model)

    @property
    def control(self) -> frozenset[str]:
        """The tokenizer's special and added tokens."""
        tokenizer = self._llm.get_tokenizer()
        found = {*map(str, tokenizer.all_special_tokens), *tokenizer.get_added_vocab()}
        return frozenset(s for s in found if s.strip())

    def ask(self, asked: Sequence[Asked], *, adapted: bool = True) -> list[Said]:
        """One answer for each, in order. Raises one of `refusals` if any of them is not taken."""
        outputs = self._llm.chat(
            [a.messages for a in asked],
            [self._parameters(a) for a in asked],
            use_tqdm=False,
            lora_request=self._adapter if adapted else None,
        )
        return [_said(output) for output in outputs]

    def scores(
        self, text: str, picture: Any | None, *, adapted: bool
    ) -> tuple[tuple[int, ...], dict[int, float]]:
        """The prompt's tokens, and log-probabilities (nats) of the likeliest tokens after it."""
        words = {"type": "text", "text": text}
        shown = [{"type": "image_pil", "image_pil": picture}, words] if picture else text
        once = {"max_tokens": 1, "temperature": 0.0, "seed": SEED, "logprobs": WATCHED}
        (output,) = self._llm.chat(
            [[{"role": "user", "content": shown}]],
            [self._api.SamplingParams(**once)],
            use_tqdm=False,
            lora_request=self._adapter if adapted else None,
        )
        likely = output.outputs[0].logprobs[0]
        found = {int(token): float(x.logprob) for token, x in likely.items()}
        return tuple(output.prompt_token_ids or ()), found

    def _parameters(self, asked: Asked) -> Any:
        form = self._api.StructuredOutputsParams(**asked.form) if asked.form else None
        return self._api.SamplingParams(**asked.parameters, structured_outputs=form)


def lora_rank(adapter: Path) -> int:
    """The smallest rank the engine takes that the adapter fits in.

    Raises `UserError` for a folder without a readable `adapter_config.json`.
    """
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
        return next(r for r in _RANKS if r >= rank)
    except StopIteration:
        raise UserError(f"{path}: vLLM takes ranks up to {_RANKS[-1]}, not {rank}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{path} cannot be read: {e}", mend="name a peft adapter") from None


def _said(output: Any) -> Said:
    answer = output.outputs[0]
    steps = []
    for token, likely in zip(answer.token_ids, answer.logprobs or (), strict=False):
        top = tuple(((x.decoded_token or "").encode(), x.logprob) for x in likely.values())
        own = likely[token]
        steps.append(Step((own.decoded_token or "").encode(), own.logprob, top))
    return Said(
        text=answer.text,
        finish=answer.finish_reason,
        prompt_tokens=len(output.prompt_token_ids or ()),
        new_tokens=len(answer.token_ids),
        steps=tuple(steps),
    )
