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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from gen_msa import ledger
from gen_msa.backends.local.pictures import Expanded, stacked
from gen_msa.chat import Picture
from gen_msa.errors import UserError
from gen_msa.finetuning import features
from gen_msa.finetuning.features import Features, Spoilt
from gen_msa.finetuning.tower import Tower, evaluating, unfit

_BESIDE = ("_name_or_path", "transformers_version", "text_config")
"""Settings of a model that do not change what its tower says."""


class Recalled(NamedTuple):
    """The pictures of a batch without their pixels."""

    tensors: dict[str, torch.Tensor]
    """What the model is given in place of the processor's tensors; empty without pictures."""
    form: features.Form | None
    """How what the tower is to say is put together; None without pictures."""
    said: dict[int, torch.Tensor]
    """The tensors of it, on the CPU."""


class Memory:
    """What one tower said under one processor, in a folder that several processes may share."""

    def __init__(
        self, model: Any, processor: Any, folder: Path, *, autocast: torch.dtype | None = None
    ) -> None:
        """`autocast`: the precision of the tower's matrix products, where it is not its own.

        Raises `UserError` for a model without a vision tower, and for a tower that is trained.
        """
        self.model = model
        self.folder = folder
        self.tower = Tower.of(model)
        self.found = self.made = self.mended = 0
        """Files that were there, that were made, and that were made anew in place of a bad one."""
        self._autocast = autocast
        self._classes = self.tower.classes()
        self._used: list[bool] | None = None
        """Which of the tower's tensors the model uses; None until a row has been made."""
        self._checked: dict[str, tuple[int, int]] = {}
        """Keys whose file was whole, with its size and time of change."""
        base = getattr(model, "get_base_model", lambda: model)()
        settings = {k: v for k, v in base.config.to_dict().items() if k not in _BESIDE}
        weights = self.tower.module.state_dict()
        self._base = {
            "tower": features.hashed({k: v for k, v in weights.items() if torch.is_tensor(v)}),
            "dtype": f"{self.tower.dtype}/{autocast}",
            "model": json.dumps(settings, sort_keys=True, default=str),
            "processor": f"{type(processor).__name__} {processor.image_processor.to_json_string()}",
            "transformers": transformers.__version__,
        }

    def key(self, pictures: Sequence[Picture]) -> str:
        """The name of a row's features: hashes of pictures' bytes, their budget, all settings."""
        shown = json.dumps([[p.sha256, p.max_pixels] for p in pictures])
        return ledger.key({**self._base, "pictures": shown})

    def keep(self, pictures: Sequence[Picture], expand: Callable[[], Expanded]) -> str:
        """Have the features of a row's pictures in the folder; their key.

        `expand` gives the row with its pixels; it is called only where a whole file is not there
        yet. Raises what `expand` raises, and `UserError` for a model that cannot be remembered.
        """
        key = self.key(pictures)
        new = key not in self._checked
        try:
            if self._checked.get(key) != self._state(key):
                self._read(key)
            self.found += new
            return key
        except FileNotFoundError:
            self.made += 1
        except Spoilt:
            self.mended += 1
        self._make(key, expand())
        return key

    def load(self, keys: Sequence[str]) -> Recalled:
        """The features of a batch's rows, in order; a row without pictures has no key.

        Raises `UserError` for features that are gone or altered since they were kept.
        """
        if not keys:
            return Recalled({}, None, {})
        try:
            rows = [self._read(key) for key in keys]
        except (FileNotFoundError, Spoilt) as e:
            raise UserError(
                f"remembered features are gone or altered: {e}",
                mend="start again: they are made anew",
            ) from None
        try:
            form = features.joined([r.form for r in rows])
        except ValueError as e:
            raise unfit(str(e)) from None
        said = {i: torch.cat([r.tensors[i] for r in rows]) for i in rows[0].tensors}
        return Recalled(stacked([r.standing_in() for r in rows]), form, said)

    @contextlib.contextmanager
    def recalling(self, recalled: Recalled) -> Iterator[None]:
        """Within it, the tower says what it said before. Does nothing for rows without pictures."""
        if recalled.form is None:
            yield
            return
        form, calls, device = recalled.form, iter("1"), self.tower.device

        def recall(*_: Any, **__: Any) -> Any:
            if next(calls, "") == "":
                raise unfit("the model calls it more than once a batch")
            said = {i: t.to(device, non_blocking=True) for i, t in recalled.said.items()}
            return features.put_together(form, said, self._classes, device)

        with self.tower.saying(recall):
            yield

    def summary(self) -> str:
        """One line: how many were found and made, and the size of the whole folder."""
        sizes = [f.st_size for f in features.files(self.folder)]
        mended = f", {self.mended} made anew" if self.mended else ""
        return (
            f"vision features: {self.found} found, {self.made} made{mended}; "
            f"{len(sizes)} files, {sum(sizes) / 1e6:,.1f} MB in {self.folder}"
        )

    def path(self, key: str) -> Path:
        """Where the features of a key lie."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def _state(self, key: str) -> tuple[int, int]:
        facts = self.path(key).stat()
        return facts.st_size, facts.st_mtime_ns

    def _read(self, key: str) -> Features:
        """The file of a key, hashed when it is first seen or has changed since."""
        state = self._state(key)
        read = features.read(self.path(key), check=self._checked.get(key) != state)
        self._checked[key] = state
        return read

    def _make(self, key: str, row: Expanded) -> None:
        first = self._used is None
        with evaluating(self.model):
            output = self.tower.heard(lambda: self._logits([row]))
            try:
                form, tensors = features.taken_apart(output)
            except TypeError as e:
                raise unfit(str(e)) from None
            if self._used is None:
                self._used = self._asked(row, form, tensors)
            kept = {i: t for i, t in enumerate(tensors) if self._used[i]}
            sizes, inputs = features.told(self._cast(row.tensors))
            features.write(self.path(key), Features(form, kept, sizes, inputs))
            self._checked[key] = self._state(key)
            if first:
                self._prove(key, row)

    def _asked(self, row: Expanded, form: features.Form, said: list[torch.Tensor]) -> list[bool]:
        """Which of the tower's tensors the model's scores depend on."""
        leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in said]
        output = features.put_together(form, dict(enumerate(leaves)), self._classes)
        with torch.enable_grad(), self.tower.saying(lambda *_, **__: output):
            total = self._logits([row]).float().sum()
            soft = [t for t in leaves if t.requires_grad]
            slopes = iter(torch.autograd.grad(total, soft, allow_unused=True))
        return [not t.requires_grad or next(slopes) is not None for t in leaves]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _prove(self, key: str, row: Expanded) -> None:
        """Recalling two rows in one batch must score as showing them does."""
        recalled = self.load([key, key])
        real = self._logits([row, row]).float()
        with self.recalling(recalled):
            again = self._logits([row, row], recalled.tensors).float()
        allowed = (0.01 if self.model.dtype == torch.float32 else 0.3) * real.std()
        if not bool((real - again).abs().max() <= allowed):
            self.path(key).unlink()
            raise unfit("what is recalled does not score as what is seen")

    def _logits(
        self, rows: Sequence[Expanded], pictures: dict[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Scores of rows of one length, shown with their own pictures or with stand-ins."""
        device = self.tower.device
        given = stacked([r.tensors for r in rows]) if pictures is None else pictures
        inputs = self._cast(given)
        inputs |= {k: torch.tensor([r.aligned[k] for r in rows]) for k in rows[0].aligned}
        inputs["input_ids"] = torch.tensor([r.ids for r in rows])
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs = {k: v.to(device) for k, v in inputs.items()}
        with torch.autocast(device.type, self._autocast, enabled=self._autocast is not None):
            logits: torch.Tensor = self.model(**inputs, use_cache=False).logits
        return logits

    def _cast(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Pixels in the tower's precision, as reading gives them."""
        kind = self.tower.dtype
        return {k: v.to(kind) if v.is_floating_point() else v for k, v in tensors.items()}
