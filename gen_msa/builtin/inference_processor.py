"""Tokens and pixels for the builtin model, without transformers' processors and their imports.

Gives what `LlavaProcessor` with `CLIPImageProcessorPil` gives for the same folder, to the last bit.

    processor = InferenceProcessor(folder)
    processor(text=["<image>What is this?"], images=[[image]])["pixel_values"]   # (1, 3, 224, 224)
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

_WHITE = (255, 255, 255, 255)


class InferenceProcessor:
    """Tokenizer and image processor of one folder."""

    def __init__(self, folder: Path) -> None:
        """Load tokenizer and settings.

        Args:
            folder: Folder that `LlavaProcessor.save_pretrained` wrote.

        Raises:
            OSError: A file cannot be read.
            ValueError: The image settings are of another kind.
        """
        settings = json.loads((folder / "processor_config.json").read_bytes())
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        self.chat_template = (folder / "chat_template.jinja").read_text("utf-8")
        self.image_token: str = settings["image_token"]
        self.image_processor = PixelNormalizer(settings["image_processor"])
        patches_per_side = self.image_processor.side // settings["patch_size"]
        self._tokens_per_image = patches_per_side**2 + settings["num_additional_image_tokens"]

    def apply_chat_template(
        self, messages: Sequence[Any], *, chat_template: str | None = None, **options: Any
    ) -> Any:
        """Render turns as the tokenizer's method of this name does.

        Args:
            messages: The turns.
            chat_template: Another template than the folder's.
            **options: Further options of the tokenizer's method.

        Returns:
            The text.
        """
        template = chat_template or self.chat_template
        return self.tokenizer.apply_chat_template(messages, chat_template=template, **options)

    def __call__(
        self,
        *,
        text: Sequence[str],
        images: Sequence[Sequence[Any]],
        return_tensors: str = "pt",
        **options: Any,
    ) -> dict[str, torch.Tensor]:
        """Make the model's inputs.

        Args:
            text: One prompt for each row, with an image token for each of its images.
            images: PIL images of each row.
            return_tensors: `pt`.
            **options: Options of the tokenizer, such as `add_special_tokens`.

        Returns:
            `input_ids`, `attention_mask` and `pixel_values` of all images.

        Raises:
            ValueError: A prompt has another number of image tokens than images.
        """
        for prompt, shown in zip(text, images, strict=True):
            if prompt.count(self.image_token) != len(shown):
                raise ValueError(
                    f"{prompt.count(self.image_token)} image tokens for {len(shown)} images"
                )
        run = self.image_token * self._tokens_per_image
        expanded = [prompt.replace(self.image_token, run) for prompt in text]
        encoded = self.tokenizer(expanded, return_tensors=return_tensors, **options)
        pixels = self.image_processor([image for shown in images for image in shown])
        return {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "pixel_values": pixels,
        }


class PixelNormalizer:
    """Images as normalized squares, as `CLIPImageProcessorPil` makes them."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Read the settings of an image processor.

        Args:
            settings: `image_processor` of a `processor_config.json`.

        Raises:
            ValueError: They do more or less than resize to a square, rescale and normalize.
        """
        steps = ("do_convert_rgb", "do_resize", "do_rescale", "do_normalize")
        size = settings["size"]
        if (
            not all(settings.get(step) for step in steps)
            or settings.get("do_center_crop")
            or set(size) != {"height", "width"}
            or size["height"] != size["width"]
        ):
            raise ValueError("the image processor is not that of the builtin model")
        self.side: int = size["height"]
        self._resample = Image.Resampling(settings["resample"])
        self._factor: float = settings["rescale_factor"]
        self._mean = np.array(settings["image_mean"], dtype=np.float32)
        self._std = np.array(settings["image_std"], dtype=np.float32)

    def __call__(self, images: Sequence[Any]) -> torch.Tensor:
        """Return pixels, float32 `(images, 3, side, side)`.

        Args:
            images: PIL images of any mode and size.
        """
        return torch.from_numpy(np.stack([self._pixels(image) for image in images]))

    def _pixels(self, image: Any) -> Any:
        resized = _on_white(image).resize((self.side, self.side), resample=self._resample)
        # In float64, then rounded once: so are transformers' pixels.
        rescaled = (np.asarray(resized).astype(np.float64) * self._factor).astype(np.float32)
        return ((rescaled - self._mean) / self._std).transpose(2, 0, 1)


def _on_white(image: Any) -> Any:
    """Return an image in RGB; transparent parts show white."""
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")
