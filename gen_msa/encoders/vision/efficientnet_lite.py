"""EfficientNet-Lite0 as a vision tower for LLaVA: the vision encoder of the builtin model.

Tan and Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks", in its
Lite variant (ReLU6, no squeeze-and-excitation). Importing this module registers the type
`efficientnet_lite` with transformers' Auto classes. Batch norms are folded into the convolutions,
so training and evaluation compute the same features.

    encoder = EfficientNetLite(EfficientNetLiteConfig(grid=4))
    encoder(pixels).last_hidden_state          # (images, 16, 1280)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import transformers as hf
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from gen_msa.encoders.vision.efficientnet_layers import EfficientNetLayers

_LITE0 = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_NORM_EPSILON = 1e-3
# The network was converted from TensorFlow, where it was trained on (pixel - 127) / 128.
_MEAN, _STD = (127 / 255,) * 3, (128 / 255,) * 3


class EfficientNetLiteConfig(hf.PretrainedConfig):  # type: ignore[misc]
    """Shape of the encoder."""

    model_type = "efficientnet_lite"

    def __init__(
        self,
        grid: int = 4,
        image_size: int = 224,
        stem: int = 32,
        stages: Sequence[Sequence[int]] = _LITE0,
        hidden_size: int = 1280,
        **kwargs: Any,
    ) -> None:
        """Set the shape; the defaults are EfficientNet-Lite0's.

        Args:
            grid: An image becomes `grid` x `grid` tokens.
            image_size: Side of the input in pixels, even at every stride of two.
            stem: Channels after the first convolution.
            stages: Rows of (repeats, kernel, stride of the first block, expansion, output
                channels).
            hidden_size: Width of a token.
            **kwargs: Further fields of a transformers config.
        """
        self.grid = grid
        self.image_size = image_size
        self.stem = stem
        self.stages = [list(s) for s in stages]
        self.hidden_size = hidden_size
        super().__init__(**kwargs)


class EfficientNetLite(EfficientNetLayers, hf.PreTrainedModel):  # type: ignore[misc]
    """EfficientNet-Lite without its classifier."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    # The encoder has no attention, so any implementation that the language model uses is fine.
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.add_layers(config.stem, config.stages, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the first layer."""
        return self.stem

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Encode images as tokens, each of mean 0 and variance 1.

        Args:
            pixel_values: Normalized pixels, (images, 3, height, width).
            **_: Ignored: LLaVA passes options that this encoder does not have.

        Returns:
            Tokens (images, grid * grid, hidden_size), row by row, in `last_hidden_state` and as the
            only entry of `hidden_states`, where LLaVA reads them.
        """
        tokens = self.image_tokens(pixel_values, self.config.grid)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


def image_processor(config: EfficientNetLiteConfig) -> Any:
    """Return transformers' image processor that prepares pixels for this encoder."""
    side = config.image_size
    return hf.CLIPImageProcessorPil(
        # Resized to a square without a crop, which would lose the edges of the image.
        size={"height": side, "width": side},
        do_center_crop=False,
        crop_size={"height": side, "width": side},
        image_mean=list(_MEAN),
        image_std=list(_STD),
    )


def fold_batch_norms(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of the EfficientNet-Lite package, with batch norms folded in.

    Args:
        weights: State of the package's network.

    Returns:
        State of an `EfficientNetLite`, in float32.
    """
    pairs = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    for i in sorted({int(n.split(".")[1]) for n in weights if n.startswith("_blocks.")}):
        for name, conv, norm in (
            ("expand", "_expand_conv", "_bn0"),
            ("depthwise", "_depthwise_conv", "_bn1"),
            ("project", "_project_conv", "_bn2"),
        ):
            if f"_blocks.{i}.{conv}.weight" in weights:
                pairs.append((f"blocks.{i}.{name}", f"_blocks.{i}.{conv}", f"_blocks.{i}.{norm}"))
    state: dict[str, Tensor] = {}
    for name, conv, norm in pairs:
        # In float64, so that folding changes at most the last digit.
        kernel, gain, shift, mean, variance = (
            weights[key].double()
            for key in (
                f"{conv}.weight",
                *(f"{norm}.{n}" for n in ("weight", "bias", "running_mean", "running_var")),
            )
        )
        scale = gain / (variance + _NORM_EPSILON).sqrt()
        state[f"{name}.weight"] = (kernel * scale[:, None, None, None]).float()
        state[f"{name}.bias"] = (shift - mean * scale).float()
    return state


hf.AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
hf.AutoModel.register(EfficientNetLiteConfig, EfficientNetLite, exist_ok=True)
