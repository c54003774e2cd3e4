"""Ask a model's configuration, cache and positions what they allow; no list of model names.

A prefix can be shared when the cache is a plain row of keys and values that any suffix may follow.
The configuration is searched for reasons against it, then the model is asked: nine tokens encoded
at
once must give the same logits as in pieces.

    prefix_sharing_unsupported_reason(model)  # "" or e.g. "mrope", "sliding window"
"""

import inspect
from typing import Any

import torch

_PROBE_TOKENS = 9
"""Tokens of the probe; the first four are the prefix."""


def forward_params(model: Any) -> frozenset[str]:
    """Return the names of the arguments of the model's forward call."""
    return frozenset(inspect.signature(model.forward).parameters)


def text_config(model: Any) -> Any:
    """Return the configuration of the text decoder."""
    return model.config.get_text_config(decoder=True)


def rope_module(model: Any) -> Any | None:
    """Return the module with `rope_deltas` (three-axis positions, mRoPE); None if there is none."""
    return next((m for m in model.modules() if hasattr(m, "rope_deltas")), None)


def image_token_ids(model: Any, processor: Any) -> frozenset[int]:
    """Return the token ids that stand for an image, before and after the processor expands them.

    Args:
        model: The model.
        processor: Its processor, or its tokenizer.
    """
    names = ("image_token_id", "image_token_index", "boi_token_id", "boi_token_index")
    token_ids = {getattr(model.config, n, None) for n in names}
    tokenizer = getattr(processor, "tokenizer", processor)
    for token in (getattr(processor, n, None) for n in ("image_token", "boi_token")):
        if isinstance(token, str):
            token_ids.add(tokenizer.convert_tokens_to_ids(token))
    return frozenset(i for i in token_ids if isinstance(i, int))


def unsupported_reason(model: Any) -> str:
    """Return why the model cannot generate answers here; "" if it can."""
    if model.config.is_encoder_decoder:
        return "it is an encoder-decoder"
    if not model.can_generate():
        return "it does not generate text"
    if "past_key_values" not in forward_params(model):
        return "it has no key-value cache"
    return ""


def prefix_sharing_unsupported_reason(model: Any) -> str:
    """Return why prefixes cannot be shared; "" if they can. Runs the model on nine tokens."""
    return (
        _position_reason(model)
        or _attention_reason(model)
        or _cache_reason(model)
        or _probe_reason(model)
    )


def _position_reason(model: Any) -> str:
    config = text_config(model)
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if rope_module(model) is not None or "mrope_section" in str(rope):
        return "mrope"
    if any(kind in str(rope) for kind in ("dynamic", "longrope")):
        return "rope depends on length"
    if "position_ids" not in forward_params(model):
        return "no position_ids"
    return ""


def _attention_reason(model: Any) -> str:
    config = text_config(model)
    has_vision = hasattr(model.config, "vision_config")
    if getattr(config, "use_bidirectional_attention", None) or (
        has_vision and "token_type_ids" in forward_params(model)
    ):
        return "bidirectional attention"
    if getattr(config, "cross_attention_layers", None):
        return "cross-attention to images"
    attention = getattr(config, "_attn_implementation", None)
    return "" if attention in (None, "eager", "sdpa") else f"attention {attention}"


def _cache_reason(model: Any) -> str:
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    layers = DynamicCache(config=text_config(model)).layers
    if any(isinstance(layer, DynamicSlidingWindowLayer) for layer in layers):
        return "sliding window"
    unsupported_types = sorted(
        {type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer}
    )
    return f"cache of {', '.join(unsupported_types)}" if unsupported_types else ""


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _probe_reason(model: Any) -> str:
    """Compare logits of nine tokens at once with those of prefix, padding and suffix."""
    from transformers.cache_utils import DynamicCache

    max_id = min(text_config(model).vocab_size, 1000)
    ids = (torch.arange(1, _PROBE_TOKENS + 1, device=model.device) * 97 % max_id)[None]
    full_output = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True)
    if type(getattr(full_output, "past_key_values", None)) is not DynamicCache:
        return f"cache of {type(getattr(full_output, 'past_key_values', None)).__name__}"
    prefix_output = model(
        input_ids=ids[:, :4], attention_mask=torch.ones_like(ids[:, :4]), use_cache=True
    )
    suffix_ids = torch.cat([ids[:, :1], ids[:, 4:]], dim=1)
    mask = torch.ones(1, _PROBE_TOKENS + 1, dtype=torch.long, device=model.device)
    mask[0, 4] = 0
    position_ids = torch.tensor([[4, 4, 5, 6, 7, 8]], device=model.device)
    suffix_output = model(
        input_ids=suffix_ids,
        attention_mask=mask,
        position_ids=position_ids,
        past_key_values=prefix_output.past_key_values,
        use_cache=True,
    )
    full_logits, suffix_logits = (
        full_output.logits[0, -1].float(),
        suffix_output.logits[0, -1].float(),
    )
    allowed = (0.01 if model.dtype == torch.float32 else 0.3) * full_logits.std()
    return (
        ""
        if (full_logits - suffix_logits).abs().max() <= allowed
        else "the model scores a shared prefix differently"
    )
