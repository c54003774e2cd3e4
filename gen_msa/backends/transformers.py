"""A model in this process, through Hugging Face transformers: `transformers:MODEL[@ADAPTER]`.

MODEL is a folder, or a hub name that already lies in the local cache; nothing is fetched, only
safetensors are read and no code of a model's own is run. What requests have in common (the
instruction, then each post with its picture) is read once where the family's positions allow it;
`notes["prefix"]` says whether it was. Greedy only. Knows nothing of sentiment.

    backend = backends["transformers"]("models/smolvlm@adapters/mabsa", BackendOptions())
"""

from collections.abc import Sequence
from typing import Any, Self

from gen_msa.backends.base import BackendOptions, TokenCount, backends
from gen_msa.chat import Chat, Completion, ImageInput, Request
from gen_msa.errors import MissingExtra

try:
    from gen_msa.backends.hf import weights
    from gen_msa.backends.hf.generate import TextGenerator
    from gen_msa.backends.hf.image_inputs import ImageLoader
except ModuleNotFoundError as e:
    if (e.name or "").partition(".")[0] not in ("torch", "transformers"):
        raise
    raise MissingExtra(str(e.name), "train") from None

LISTS_ASPECTS_MIN_PARAMS = 1_000_000_000
"""Parameters from which on a model is asked to list a post's aspects itself."""


def _load_image(image: ImageInput) -> Any:
    from gen_msa import media

    return media.load_image(image)


@backends.register
class TransformersBackend:
    """A causal language model, with or without eyes."""

    def __init__(self, target: str, options: BackendOptions) -> None:
        self._init(weights.load_inference_model(target, options), options, _load_image)

    @classmethod
    def from_model(
        cls,
        model: Any,
        processor: Any,
        options: BackendOptions,
        revision: str,
        load_image: ImageLoader = _load_image,
    ) -> Self:
        """A backend of a model at hand; `processor` is its tokenizer if it sees no pictures.

        `look` gives the PIL image of a picture. Raises `UserError` for a model that cannot be
        driven (an encoder-decoder, or one without a cache of keys and values).
        """
        backend = cls.__new__(cls)
        loaded = weights.InferenceModel(model, processor, revision, None, {})
        backend._init(loaded, options, load_image)
        return backend

    def _init(
        self, loaded: weights.InferenceModel, options: BackendOptions, load_image: ImageLoader
    ) -> None:
        self.revision = loaded.revision
        self.training_metadata = loaded.metadata
        """How the model was fine-tuned, if its folder says so: readers ask as training did."""
        self._notes = loaded.notes
        self.generator = TextGenerator(loaded.model.eval(), loaded.processor, options, load_image)
        self.supports_images = self.generator.chat_tokenizer.supports_images
        self.can_list_aspects = (
            sum(p.numel() for p in loaded.model.parameters()) >= LISTS_ASPECTS_MIN_PARAMS
        )

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order. Never raises for a single bad request.

        Give the requests of one post next to one another: what they share is then read once.
        """
        completions: list[Completion] = self.generator.complete(requests)
        if self._notes:
            return [c.model_copy(update={"notes": {**c.notes, **self._notes}}) for c in completions]
        return completions

    def count_tokens(self, chat: Chat) -> TokenCount:
        """Tokens the chat costs, and those of its pictures with the marks around them."""
        return self.generator.count_tokens(chat)
