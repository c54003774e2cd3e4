"""The builtin model for answering, in plain torch: a LLaVA of a Llama and EfficientNet-Lite.

transformers' modeling code takes longer to import than this model takes to answer, so a start that
finds merged weights in the cache does without. The operations, their order and their attention
masks are transformers' own: logits are equal to the last bit (`tests/builtin`). Training, adapters
and other devices use transformers' LLaVA.

    model = InferenceLlava.load(folder)
    model(input_ids=ids, use_cache=True).logits      # (rows, tokens, vocabulary)
"""

import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache
from transformers.configuration_utils import PreTrainedConfig

from gen_msa.encoders.vision.efficientnet_layers import EfficientNetLayers

WEIGHTS_FILE = "model.safetensors"
TIED_WEIGHTS = frozenset({"lm_head.weight"})
"""Tensors of transformers' LLaVA that are the word embeddings under another name."""
_TEXT_SETTINGS = {
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
}
_LLAVA_SETTINGS = {
    "model_type": "llava",
    "projector_hidden_act": "gelu",
    "multimodal_projector_bias": True,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
}


class LogitsAndCache(NamedTuple):
    """What the model returns."""

    logits: Tensor
    """`(rows, tokens, vocabulary)`, or of the last tokens only."""
    past_key_values: Any
    """The extended cache; None without `use_cache`."""


class LlavaConfigView:
    """The parts of a LLaVA's `config.json` that the generator asks for."""

    is_encoder_decoder = False

    def __init__(self, config: dict[str, Any]) -> None:
        """Read a `config.json`."""
        self.image_token_id: int = config["image_token_index"]
        self.vision_config: dict[str, Any] = config["vision_config"]
        self.text_config = PreTrainedConfig(**config["text_config"])
        self.text_config._attn_implementation = "sdpa"

    def get_text_config(self, decoder: bool = True) -> Any:
        """Return the configuration of the text decoder.

        Args:
            decoder: Ignored; transformers' configurations have this argument.
        """
        return self.text_config


class InferenceLlava(nn.Module):  # type: ignore[misc]
    """The merged builtin model on the CPU in float32, for answering only."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Prepare for weights.

        Args:
            config: Content of the model's `config.json`.

        Raises:
            ValueError: The configuration is of another kind of model.
        """
        super().__init__()
        unsupported = unsupported_setting(config)
        if unsupported:
            raise ValueError(f"the model cannot run without transformers: {unsupported}")
        self.config = LlavaConfigView(config)
        self.generation_config = self.config.text_config
        self.model = nn.Module()
        self.model.vision_tower = _VisionTower(self.config.vision_config)
        self.model.multi_modal_projector = _Projector(
            self.config.vision_config["hidden_size"], self.config.text_config.hidden_size
        )
        self.model.language_model = _LanguageModel(self.config.text_config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map the weights of a folder into memory.

        Args:
            folder: Folder with `config.json` and `model.safetensors`.

        Returns:
            The model in evaluation mode; processes that load the same folder share its memory.

        Raises:
            OSError: A file cannot be read.
            ValueError: The folder has another kind of model.
            RuntimeError: The weights do not fit the configuration.
        """
        config = json.loads((folder / "config.json").read_bytes())
        with torch.device("meta"):
            model = cls(config)
        # Assigned, not copied: the tensors are views of the mapped file.
        model.load_state_dict(load_file(folder / WEIGHTS_FILE), assign=True)
        model.requires_grad_(False).eval()
        return model

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        device: torch.device = self.model.language_model.embed_tokens.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the weights."""
        dtype: torch.dtype = self.model.language_model.embed_tokens.weight.dtype
        return dtype

    def can_generate(self) -> bool:
        """Return True, as transformers' models do."""
        return True

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        pixel_values: Tensor | None = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
    ) -> LogitsAndCache:
        """Compute the logits of the next tokens.

        Args:
            input_ids: `(rows, tokens)`.
            attention_mask: `(rows, cached and new tokens)`; 0 where a row is padded.
            position_ids: `(rows, tokens)`; None counts from the cache's length.
            past_key_values: Cache of transformers; it is extended in place.
            pixel_values: `(images, 3, height, width)`, for the image tokens in their order.
            use_cache: Whether to make a cache when none is given.
            logits_to_keep: Number of last tokens whose logits are computed; 0 for all.

        Returns:
            The logits and the cache.

        Raises:
            ValueError: The number of image tokens is not that of the images.
        """
        language_model = self.model.language_model
        embeddings = language_model.embed_tokens(input_ids)
        if pixel_values is not None:
            embeddings = self._insert_images(input_ids, embeddings, pixel_values)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config.text_config)
        hidden = language_model(embeddings, attention_mask, position_ids, past_key_values)
        if logits_to_keep:
            hidden = hidden[:, -logits_to_keep:, :]
        logits = F.linear(hidden, language_model.embed_tokens.weight)
        return LogitsAndCache(logits, past_key_values)

    def _insert_images(self, input_ids: Tensor, embeddings: Tensor, pixel_values: Tensor) -> Tensor:
        tokens = self.model.vision_tower(pixel_values)
        image_embeddings = self.model.multi_modal_projector(tokens).flatten(0, 1)
        is_image = input_ids == self.config.image_token_id
        if int(is_image.sum()) != len(image_embeddings):
            raise ValueError(
                f"{int(is_image.sum())} image tokens do not fit {len(image_embeddings)} features"
            )
        return embeddings.masked_scatter(is_image[..., None], image_embeddings)


def unsupported_setting(config: dict[str, Any]) -> str:
    """Return the first setting of a `config.json` that this module cannot follow; "" for none."""
    text = config.get("text_config", {})
    for settings, needed in ((config, _LLAVA_SETTINGS), (text, _TEXT_SETTINGS)):
        for name, value in needed.items():
            if settings.get(name) != value:
                return f"{name}={settings.get(name)!r}"
    rope = text.get("rope_parameters", {})
    vision_type = config.get("vision_config", {}).get("model_type")
    if rope.get("rope_type") != "default":
        return f"rope_type={rope.get('rope_type')!r}"
    return "" if vision_type == "efficientnet_lite" else f"vision model_type={vision_type!r}"


class _VisionTower(EfficientNetLayers, nn.Module):  # type: ignore[misc]
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.grid: int = config["grid"]
        self.add_layers(config["stem"], config["stages"], config["hidden_size"])

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.image_tokens(pixel_values, self.grid)


class _Projector(nn.Module):  # type: ignore[misc]
    def __init__(self, vision_size: int, text_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision_size, text_size)
        self.linear_2 = nn.Linear(text_size, text_size)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.linear_2(F.gelu(self.linear_1(tokens)))
        return out


class _LanguageModel(nn.Module):  # type: ignore[misc]
    def __init__(self, config: Any) -> None:
        super().__init__()
        # Drawing weights on the meta device would import torch's compiler, for more than a second.
        undrawn = torch.empty(config.vocab_size, config.hidden_size)
        self.embed_tokens = nn.Embedding(*undrawn.shape, _weight=undrawn)
        self.layers = nn.ModuleList(_Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = _RMSNorm(config)
        self._rope_theta = config.rope_parameters["rope_theta"]
        self._head_dim = _head_dim(config)

    def forward(
        self,
        embeddings: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: Any,
    ) -> Tensor:
        n_cached = cache.get_seq_length() if cache is not None else 0
        n_new = embeddings.shape[1]
        if position_ids is None:
            position_ids = torch.arange(n_new)[None] + n_cached
        mask = _causal_mask(attention_mask, len(embeddings), n_new, n_cached)
        rotary = self._rotary(position_ids)
        hidden = embeddings
        for layer in self.layers:
            hidden = layer(hidden, mask, rotary, cache)
        normed: Tensor = self.norm(hidden)
        return normed

    def _rotary(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, `(rows, 1, tokens, head_dim)`."""
        exponents = torch.arange(0, self._head_dim, 2, dtype=torch.float) / self._head_dim
        frequencies = 1.0 / (self._rope_theta**exponents)
        angles = position_ids[..., None].float() * frequencies
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        return angles.cos(), angles.sin()


class _RMSNorm(nn.Module):  # type: ignore[misc]
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.epsilon: float = config.rms_norm_eps

    def forward(self, hidden: Tensor) -> Tensor:
        variance = hidden.pow(2).mean(-1, keepdim=True)
        out: Tensor = self.weight * (hidden * torch.rsqrt(variance + self.epsilon))
        return out


class _Layer(nn.Module):  # type: ignore[misc]
    def __init__(self, config: Any, index: int) -> None:
        super().__init__()
        self.self_attn = _Attention(config, index)
        self.mlp = _FeedForward(config)
        self.input_layernorm = _RMSNorm(config)
        self.post_attention_layernorm = _RMSNorm(config)

    def forward(
        self, hidden: Tensor, mask: Tensor | None, rotary: tuple[Tensor, Tensor], cache: Any
    ) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), mask, rotary, cache)
        out: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return out


class _FeedForward(nn.Module):  # type: ignore[misc]
    def __init__(self, config: Any) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return out


class _Attention(nn.Module):  # type: ignore[misc]
    """Attention whose groups of query heads share keys and values."""

    def __init__(self, config: Any, index: int) -> None:
        super().__init__()
        self.index = index
        self.head_dim = _head_dim(config)
        self.group_size = config.num_attention_heads // config.num_key_value_heads
        size = config.hidden_size
        query_size = config.num_attention_heads * self.head_dim
        key_size = config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(size, query_size, bias=False)
        self.k_proj = nn.Linear(size, key_size, bias=False)
        self.v_proj = nn.Linear(size, key_size, bias=False)
        self.o_proj = nn.Linear(query_size, size, bias=False)

    def forward(
        self, hidden: Tensor, mask: Tensor | None, rotary: tuple[Tensor, Tensor], cache: Any
    ) -> Tensor:
        shape = (*hidden.shape[:-1], -1, self.head_dim)
        query, key, value = (
            projection(hidden).view(shape).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = _rotate(query, *rotary), _rotate(key, *rotary)
        if cache is not None:
            key, value = cache.update(key, value, self.index)
        attended = _attend(query, key, value, mask, self.group_size)
        attended = attended.transpose(1, 2).contiguous().reshape(*hidden.shape[:-1], -1)
        out: Tensor = self.o_proj(attended)
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, group: int) -> Tensor:
    """Attend as transformers' `sdpa_attention_forward` does, `(rows, heads, tokens, head_dim)`.

    Which kernel runs decides the last bits, so its three cases are kept: grouped heads without a
    mask, heads of a group as rows for a single query, repeated keys otherwise.
    """
    rows, heads, n_queries, head_dim = query.shape
    grouped = False
    if group > 1:
        if mask is None and head_dim <= 256:
            grouped = True
        elif n_queries == 1:
            query = query.reshape(rows, heads // group, group, head_dim)
        else:
            key, value = (_repeat_heads(t, group) for t in (key, value))
    out = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        scale=head_dim**-0.5,
        is_causal=mask is None and n_queries > 1,
        enable_gqa=grouped,
    )
    return out.reshape(rows, heads, n_queries, head_dim)


def _repeat_heads(states: Tensor, count: int) -> Tensor:
    rows, heads, tokens, head_dim = states.shape
    expanded = states[:, :, None].expand(rows, heads, count, tokens, head_dim)
    return expanded.reshape(rows, heads * count, tokens, head_dim)


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = states.shape[-1] // 2
    rotated = torch.cat((-states[..., half:], states[..., :half]), dim=-1)
    return states * cos + rotated * sin


def _causal_mask(
    attention_mask: Tensor | None, rows: int, n_new: int, n_cached: int
) -> Tensor | None:
    """Return `(rows, 1, new, all)`, True where a token is seen; None for plain causal attention."""
    padding = None if attention_mask is None else attention_mask.bool()
    is_unpadded = padding is None or bool(padding.all())
    if is_unpadded and (n_new == 1 or n_cached == 0):
        return None
    positions = torch.arange(n_cached + n_new)
    causal = positions[None, :] <= positions[n_cached:, None]
    if padding is None:
        return causal.expand(rows, 1, -1, -1)
    return causal & padding[:, None, None, :]


def _head_dim(config: Any) -> int:
    head_dim: int = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    return head_dim
