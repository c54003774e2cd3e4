"""The layers of EfficientNet-Lite in plain torch, without transformers and its long import.

`efficientnet_lite.EfficientNetLite` is the same network as a vision tower for transformers.

    class Tower(EfficientNetLayers, nn.Module): ...
    tower.image_tokens(pixels, grid=4)         # (images, 16, 1280)
"""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class Conv(nn.Conv2d):  # type: ignore[misc]
    """Convolution with bias and TensorFlow padding: an odd pixel is added right and below."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        """Draw new weights.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel: Side of the kernel.
            stride: Stride in both directions.
            groups: Groups of channels; `in_channels` for a depthwise convolution.
        """
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups)
        total = kernel - stride
        left, right = total // 2, total - total // 2
        self.same_padding = (left, right, left, right)

    def forward(self, x: Tensor) -> Tensor:
        """Map (images, in, height, width) to (images, out, height / stride, width / stride).

        Args:
            x: Feature maps, (images, in, height, width).

        Returns:
            Feature maps; a height or width that the stride does not divide is rounded down.
        """
        return super().forward(F.pad(x, self.same_padding) if any(self.same_padding) else x)


class Block(nn.Module):  # type: ignore[misc]
    """Inverted bottleneck: expand, depthwise convolution, project; residual if shapes match."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int
    ) -> None:
        """Draw new weights.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel: Side of the depthwise kernel.
            stride: Stride of the depthwise convolution.
            expansion: Factor of the inner channels; 1 for no expansion.
        """
        super().__init__()
        expanded = in_channels * expansion
        self.expand = Conv(in_channels, expanded, 1) if expansion > 1 else None
        self.depthwise = Conv(expanded, expanded, kernel, stride, groups=expanded)
        self.project = Conv(expanded, out_channels, 1)
        self.has_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (images, in, height, width) to (images, out, height / stride, width / stride).

        Args:
            x: Feature maps, (images, in, height, width).

        Returns:
            Feature maps; the input is added where its shape is the same.
        """
        expanded = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(expanded)))
        return out + x if self.has_residual else out


class EfficientNetLayers:
    """The network without its classifier, for a subclass that is also a module."""

    stem: Conv
    blocks: nn.ModuleList
    head: Conv

    def add_layers(self, stem: int, stages: Sequence[Sequence[int]], hidden_size: int) -> None:
        """Add layers with new weights.

        Args:
            stem: Channels after the first convolution.
            stages: Rows of (repeats, kernel, stride of the first block, expansion, output
                channels).
            hidden_size: Channels of the last feature map.
        """
        self.stem = Conv(3, stem, 3, 2)
        blocks: list[Block] = []
        in_channels = stem
        for repeats, kernel, stride, expansion, out_channels in stages:
            for i in range(repeats):
                blocks.append(
                    Block(in_channels, out_channels, kernel, 1 if i else stride, expansion)
                )
                in_channels = out_channels
        self.blocks = nn.ModuleList(blocks)
        self.head = Conv(in_channels, hidden_size, 1)

    def features(self, pixel_values: Tensor) -> Tensor:
        """Compute the last feature map.

        Args:
            pixel_values: Normalized pixels, (images, 3, height, width).

        Returns:
            (images, hidden_size, height / 32, width / 32) for Lite0.
        """
        x = F.relu6(self.stem(pixel_values.to(self.stem.weight.dtype)))
        for block in self.blocks:
            x = block(x)
        return F.relu6(self.head(x))

    def image_tokens(self, pixel_values: Tensor, grid: int) -> Tensor:
        """Encode images as tokens, each of mean 0 and variance 1.

        Args:
            pixel_values: Normalized pixels, (images, 3, height, width).
            grid: Side of the grid of tokens.

        Returns:
            Tokens (images, grid * grid, hidden_size), row by row.
        """
        pooled = F.adaptive_avg_pool2d(self.features(pixel_values), grid)
        tokens = pooled.flatten(2).transpose(1, 2)
        # Without it, projected images are many times larger than word embeddings.
        return F.layer_norm(tokens, tokens.shape[-1:])
