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
from gen_msa.backends._calling import short
from gen_msa.backends._logprobs import option_logprobs
from gen_msa.backends._messages import messages
from gen_msa.backends._options import say_ignored
from gen_msa.backends._slots import slot_pattern
from gen_msa.backends.base import BackendOptions, backends
from gen_msa.backends.vllm_engine import MOST_PICTURES, Api, Asked, Engine, Said, load_api
from gen_msa.chat import Chat, Completion, Picture, Request
from gen_msa.errors import UserError

TOP_LOGPROBS = 20
STRONG = 1_000_000_000
"""Bytes of weights from which on a model is asked to list a post's aspects itself."""
_HONOURED = {"dtype", "share_prefix"}
_ENDS = {"stop": "stop", "length": "length"}


@backends.register
class Vllm:
    """An engine in this process."""

    samples = True

    def __init__(self, target: str, options: BackendOptions, *, api: Api | None = None) -> None:
        """Raises `MissingExtra` without vLLM, `UserError` for what is no model or adapter."""
        say_ignored("vllm", options, _HONOURED)
        api = api or load_api()
        from gen_msa.backends.local import served, weights

        model, adapter = weights.find(target)
        weights.guard(model, "model")
        if adapter is not None:
            weights.guard(adapter, "adapter")
        self.trained, self._notes = served.told(model, adapter)
        settings = {"dtype": options.dtype, "enable_prefix_caching": options.share_prefix}
        self._engine = Engine(api, model, adapter, settings)
        self._control = self._engine.control
        self.sees_pictures = self._engine.sees_pictures
        self.lists_aspects = _bytes_of_weights(model) >= STRONG
        parts = [weights.revision(folder) for folder in (model, adapter) if folder]
        self.revision = f"vllm/{'+'.join(parts)}/{options.dtype}"
        self._check(adapter or model, worn=adapter is not None, dtype=options.dtype)

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order. Never raises for a single bad request."""
        done: dict[int, Completion] = {}
        rows: list[tuple[int, Request, Asked, dict[str, str]]] = []
        for i, request in enumerate(requests):
            try:
                asked, notes = self._asked(request)
                rows.append((i, request, asked, {**self._notes, **notes}))
            except (media.PictureProblem, OSError, ValueError, UserError) as e:
                done[i] = _failed(str(e))
        answers = self._answers([asked for _, _, asked, _ in rows])
        for (i, request, asked, notes), said in zip(rows, answers, strict=True):
            done[i] = said if isinstance(said, Completion) else _read(request, asked, said, notes)
        return [done[i] for i in range(len(requests))]

    def count_tokens(self, chat: Chat) -> None:
        """None: the engine lays a chat out only when it is asked."""

    def _check(self, folder: Path, *, worn: bool, dtype: str) -> None:
        """Refuse an engine that does not answer the adapter's probe as training did."""
        from gen_msa.backends.local import served

        recorded = self.trained.probe if self.trained else None
        if not worn and recorded is None:
            return
        asked = served.question(recorded)
        adapted = served.Heard(*self._engine.scores(*asked, adapted=True))
        base = served.Heard(*self._engine.scores(*asked, adapted=False)) if worn else None
        # What `auto` comes to is the engine's own affair; on no machine is it coarser than this.
        now = "bfloat16" if dtype == "auto" else dtype
        served.check(folder, recorded, adapted=adapted, base=base, now=now)
        if recorded is None:
            self._notes["adapter.probe"] = "its effect was seen; no recorded one to compare with"

    def _asked(self, request: Request) -> tuple[Asked, dict[str, str]]:
        if len(request.chat.pictures) > MOST_PICTURES:
            raise ValueError(f"{len(request.chat.pictures)} pictures; at most {MOST_PICTURES}")
        turns, broken = messages(request.chat, _shown, self._control)
        parameters: dict[str, Any] = {
            "max_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        form: dict[str, Any] = {}
        if request.choice is not None:
            parameters["logprobs"] = TOP_LOGPROBS
            form = {"regex": slot_pattern(request.choice)}
        elif request.json_schema is not None:
            form = {"json": request.json_schema}
        return Asked(turns, parameters, form), {"neutralised": str(broken)} if broken else {}

    def _answers(self, asked: Sequence[Asked]) -> list[Said | Completion]:
        """Ask all at once; where the engine will not take one of them, find it by halves."""
        if not asked:
            return []
        try:
            return [*self._engine.ask(asked)]
        except self._engine.refusals as e:
            if len(asked) == 1:
                return [_failed(f"vLLM will not take it: {short(str(e))}")]
        half = len(asked) // 2
        return self._answers(asked[:half]) + self._answers(asked[half:])


def _shown(picture: Picture) -> dict[str, Any]:
    return {"type": "image_pil", "image_pil": media.load(picture)}


def _read(request: Request, asked: Asked, said: Said, notes: dict[str, str]) -> Completion:
    if said.finish not in _ENDS:
        return _failed(f"the engine stopped: {said.finish}")
    form = "slot" if "regex" in asked.form else "schema" if asked.form else "free"
    logprobs = None
    if request.choice is not None:
        logprobs, note = option_logprobs(said.steps, request.choice, None)
        notes = notes | ({"option_logprobs": note} if note else {})
    return Completion(
        text=said.text,
        finish_reason="length" if said.finish == "length" else "stop",
        option_logprobs=logprobs,
        prompt_tokens=said.prompt_tokens,
        new_tokens=said.new_tokens,
        notes={"form": form, **notes},
    )


def _failed(reason: str) -> Completion:
    return Completion(text="", finish_reason="error", error=reason, notes={"form": "free"})


def _bytes_of_weights(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("*.safetensors"))
