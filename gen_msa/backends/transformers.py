"""A model in this process, through Hugging Face transformers: `transformers:MODEL[@ADAPTER]`.

MODEL is a folder, or a hub name that is in the local cache; nothing is downloaded, only safetensors
are loaded and no remote code is run. What requests have in common (the instruction, then each post
with its image) is encoded once where the model family allows it; `notes["prefix"]` says whether it
was. Decoding is greedy.

    backend = backends["transformers"]("models/smolvlm@adapters/mabsa", BackendOptions())
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from gen_msa.backends.base import BackendOptions, TokenCount, backends
from gen_msa.chat import Chat, Completion, ImageInput, Request
from gen_msa.errors import MissingExtra

try:
    from gen_msa.backends.hf.generate import TextGenerator
    from gen_msa.backends.hf.image_inputs import ImageLoader
except ModuleNotFoundError as e:
    if (e.name or "").partition(".")[0] not in ("torch", "transformers"):
        raise
    raise MissingExtra(str(e.name), "train") from None

if TYPE_CHECKING:
    from gen_msa.backends.hf.adapters import AdapterMetadata

LISTS_ASPECTS_MIN_PARAMS = 1_000_000_000
"""Number of parameters from which a model is asked to list a post's aspects itself."""


def _load_image(image: ImageInput) -> Any:
    from gen_msa import media

    return media.load_image(image)


@backends.register
class TransformersBackend:
    """A causal language model, with or without vision."""

    def __init__(self, target: str, options: BackendOptions) -> None:
        # Not at the top: it imports transformers' modeling code, which takes seconds.
        from gen_msa.backends.hf import weights

        loaded = weights.load_inference_model(target, options)
        self._init(
            TextGenerator(loaded.model.eval(), loaded.processor, options, _load_image),
            loaded.revision,
            loaded.metadata,
            loaded.notes,
        )

    @classmethod
    def from_model(
        cls,
        model: Any,
        processor: Any,
        options: BackendOptions,
        revision: str,
        load_image: ImageLoader = _load_image,
        *,
        metadata: "AdapterMetadata | None" = None,
        notes: Mapping[str, str] | None = None,
    ) -> Self:
        """Build a backend of a loaded model.

        Args:
            model: A causal language model.
            processor: Its processor; its tokenizer if it takes no images.
            options: Options common to all backends.
            revision: Identifies the model's weights.
            load_image: Loads an image as a PIL image.
            metadata: How the model was fine-tuned.
            notes: What could not be checked of the model, by name; every completion has them.

        Returns:
            The backend.

        Raises:
            UserError: The model is not supported (an encoder-decoder, or one without a key-value
                cache).
        """
        backend = cls.__new__(cls)
        generator = TextGenerator(model.eval(), processor, options, load_image)
        backend._init(generator, revision, metadata, notes or {})
        return backend

    def _init(
        self,
        generator: TextGenerator,
        revision: str,
        metadata: "AdapterMetadata | None",
        notes: Mapping[str, str],
    ) -> None:
        self.revision = revision
        self.training_metadata = metadata
        """How the model was fine-tuned, if its folder says so: predictors ask as in training."""
        self._notes = notes
        self.generator = generator
        self.supports_images = generator.chat_tokenizer.supports_images
        parameters = generator.engine.model.parameters()
        self.can_list_aspects = sum(p.numel() for p in parameters) >= LISTS_ASPECTS_MIN_PARAMS

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete requests; requests about one post should be neighbours, to share its prefix.

        Returns:
            One completion for each request, in order. A bad request gives a completion with
            `finish_reason="error"`; the others are completed.
        """
        completions: list[Completion] = self.generator.complete(requests)
        if self._notes:
            return [c.model_copy(update={"notes": {**c.notes, **self._notes}}) for c in completions]
        return completions

    def count_tokens(self, chat: Chat) -> TokenCount:
        """Count the tokens of the chat, and those of its images with delimiters."""
        return self.generator.count_tokens(chat)
