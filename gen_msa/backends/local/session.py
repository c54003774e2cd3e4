"""One model asked many questions: rows, batches, memory, completions.

A bad request becomes a completion with `finish_reason="error"`; when memory runs out, the rows at
hand are asked again in batches of half the size, and that is noted. Knows no folder and no hub: it
is handed a model and its processor.

    Session(model, processor, options, look).complete(requests)
"""

import gc
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from jinja2 import TemplateError

from gen_msa.backends.base import BackendOptions, TokenCount
from gen_msa.backends.local import family, plan
from gen_msa.backends.local.engine import Engine
from gen_msa.backends.local.layout import Layout
from gen_msa.backends.local.pictures import Expander, Look
from gen_msa.backends.local.plan import Group, Row
from gen_msa.backends.local.pool import Answer, Pool
from gen_msa.backends.local.quoting import Quoter
from gen_msa.backends.local.reading import Batch, Reader
from gen_msa.chat import Chat, Completion, Request
from gen_msa.errors import UserError
from gen_msa.media import PictureProblem

BAD_REQUEST = (
    UserError,
    PictureProblem,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    TemplateError,
)
"""What a template, a processor or the picture loader raises for one request it cannot take."""

Done = dict[int, Completion]


class Session:
    """A loaded model, ready to be asked."""

    def __init__(self, model: Any, processor: Any, options: BackendOptions, look: Look) -> None:
        reason = family.why_not(model)
        if reason:
            raise UserError(f"{type(model).__name__} cannot be used here: {reason}")
        self.options = options
        self.layout = Layout(processor)
        self.placeholders = family.picture_ids(model, processor)
        reason = family.why_plain(model)
        self.engine = Engine(model, _ends(model, self.layout), simple=not reason)
        self.plain = reason or ("" if options.share_prefix else "not asked for")
        """Why prefixes are not shared, or ""."""
        self._reader = Reader(self.engine, self.placeholders, share=not self.plain)
        self._expander = Expander(self.layout, look, self.placeholders)
        self._window = getattr(family.text_config(model), "max_position_embeddings", None)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order."""
        done: Done = {}
        rows: list[Row] = []
        for i, request in enumerate(requests):
            try:
                rows.append(self.layout.row(i, request))
            except BAD_REQUEST as e:
                done[i] = _failed(e)
        for answer, memory in self._answers(rows, done):
            i = answer.row.index
            done[i] = self._completion(requests[i], answer, memory)
        self._reader.forget()
        return [done[i] for i in range(len(requests))]

    def count(self, chat: Chat) -> TokenCount:
        """Tokens of the chat and those its pictures cost, marks around them included."""
        prompt = self.layout.prompt(chat)
        row = Row(0, tuple(prompt.ids), prompt.text, prompt.pictures, None, 1, {})
        total = len(self._expander.expand(row).ids)
        words = sum(t not in self.placeholders for t in prompt.ids)
        return TokenCount(total, total - words if prompt.pictures else 0)

    def _answers(self, rows: list[Row], done: Done) -> Iterator[tuple[Answer, str]]:
        """Answers as they end, with a note on memory; rows that fail go straight to `done`."""
        quoter = Quoter(self.layout.decode, self.engine.ends)
        pool, most, memory = Pool(self.engine, quoter), self.options.batch_size, ""
        instruction = () if self.plain else plan.instruction(rows, self.placeholders)
        queue = self._queue(rows, len(instruction), most)
        unanswered: dict[int, Row] = {}
        while queue or unanswered:
            ended: list[Answer] = []
            try:
                while queue and self._room(len(pool.live), queue[0], most):
                    batch = self._expanded(queue.popleft(), done)
                    fresh = [row for post in batch for row, _ in post]
                    unanswered.update((r.index, r) for r in fresh)
                    if fresh:
                        ended += pool.admit(self._reader.read(batch, instruction), fresh)
                ended += pool.step()
            except (MemoryError, RuntimeError) as e:
                if not _out_of_memory(e):
                    raise
                pool.clear()
                lost = self._lost(unanswered, ended)
                most = max(len(lost) // 2, 1)
                memory = f"{most} (out of memory with {len(lost)})"
                if len(lost) == 1:
                    done[lost.pop().index] = _failed(MemoryError("out of memory for one request"))
                rest = [r for waiting in queue for g in waiting for r in g.rows]
                rest = sorted([*lost, *rest], key=lambda r: r.index)
                queue = self._queue(rest, len(instruction), most)
            for answer in ended:
                unanswered.pop(answer.row.index)
                yield answer, memory

    def _queue(self, rows: list[Row], shared: int, most: int) -> deque[list[Group]]:
        """Batches to be read. Half of what fits, so that new rows find room as others end."""
        size = -(-most // 2) if self.engine.simple else most
        found = [Group((row,)) for row in rows] if self.plain else plan.groups(rows, shared, size)
        return deque(plan.batches(found, size))

    def _room(self, live: int, batch: list[Group], most: int) -> bool:
        """Whether a batch can join: none is under way, or the past is plain and rows are few."""
        size = sum(len(g.rows) for g in batch)
        return live == 0 or (self.engine.simple and live + size <= most)

    def _expanded(self, batch: list[Group], done: Done) -> Batch:
        """The batch with its pictures; rows that cannot be had go to `done`."""
        out: Batch = []
        for group in batch:
            post = []
            for row in group.rows:
                try:
                    found = self._expander.expand(row)
                    self._check_fits(row, len(found.ids))
                    post.append((row, found))
                except BAD_REQUEST as e:
                    done[row.index] = _failed(e)
            if post:
                out.append(post)
        return out

    def _check_fits(self, row: Row, length: int) -> None:
        slot = max((len(f) for f in row.slot.forced), default=0) if row.slot else 0
        needed = length + slot + row.budget
        if self._window and needed > self._window:
            raise ValueError(f"{needed} tokens do not fit into the model's {self._window}")

    def _lost(self, unanswered: dict[int, Row], ended: Iterable[Answer]) -> list[Row]:
        """Rows that must be asked again, taken out of `unanswered`; frees what can be freed."""
        self._reader.forget()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        over = {a.row.index for a in ended}
        return [unanswered.pop(i) for i in [*unanswered] if i not in over]

    def _completion(self, request: Request, answer: Answer, memory: str) -> Completion:
        if not answer.sound:
            return _failed(ArithmeticError("the model's scores are not numbers"))
        row = answer.row
        notes = {**row.notes, "prefix": f"plain ({self.plain})" if self.plain else "shared"}
        if memory:
            notes["batch"] = memory
        text, logprobs, choice = "", None, request.choice
        if choice is not None and answer.option is not None:
            text = choice.lead + choice.options[answer.option] + choice.then
            logprobs = dict(zip(choice.options, answer.logprobs, strict=True))
        return Completion(
            text=text + self.layout.decode(answer.ids, answer.forced),
            finish_reason=answer.finish or "length",
            option_logprobs=logprobs,
            prompt_tokens=answer.prompt_tokens,
            new_tokens=len(answer.forced) + len(answer.ids),
            notes=notes,
        )


def _ends(model: Any, layout: Layout) -> frozenset[int]:
    found = layout.ends()
    for config in (model.generation_config, family.text_config(model)):
        ids = getattr(config, "eos_token_id", None)
        found |= {ids} if isinstance(ids, int) else set(ids or ())
    return frozenset(found)


def _out_of_memory(error: Exception) -> bool:
    said = str(error).lower()
    marks = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(m in said for m in marks)


def _failed(error: Exception) -> Completion:
    said = f"{type(error).__name__}: {error}"
    return Completion(text="", finish_reason="error", error=said)
