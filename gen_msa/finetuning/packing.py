"""A Llama-architecture text model as one GGUF file, through the `gguf` package's own writer.

Only what is known to be right is written: another architecture, a tokenizer that is not byte-level
BPE, or rotary angles of another kind are refused. Knows nothing of adapters.

    refuse(config); write(model, tokenizer, Path("model-f16.gguf"), "f16")
"""

import json
from pathlib import Path
from typing import Any

from gen_msa.errors import MissingExtra, UserError

_MEND = "export without --gguf: the merged safetensors can be read everywhere transformers is"
_NORMAL, _CONTROL, _OWN, _UNUSED = 1, 3, 4, 5
_LLAMA3 = r"\p{N}{1,3}"
"""Only Llama 3's pattern, of those that stand in front of byte-level BPE, counts digits by three
and begins as below."""
_LLAMA3_HEAD = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"


def refuse(config: dict[str, Any]) -> None:
    """Raise `UserError` for a model that GGUF is not written for, judged by its config alone."""
    kind = config.get("model_type")
    if "vision_config" in config:
        raise UserError(f"{kind} sees pictures: GGUF is written for text-only models", mend=_MEND)
    if kind != "llama":
        raise UserError(
            f"GGUF is written for Llama's architecture (llama, SmolLM2, …), not {kind!r}",
            mend=_MEND,
        )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    turned = rope.get("rope_type", rope.get("type", "default"))
    odd = {
        "rotary angles": turned if turned != "default" else "",
        "activation": config.get("hidden_act", "silu").replace("silu", ""),
        "biases": "attention" if config.get("attention_bias") else "",
        "biases of its MLP": "mlp" if config.get("mlp_bias") else "",
    }
    for what, value in odd.items():
        if value:
            raise UserError(f"GGUF is not written for {what} of this kind ({value})", mend=_MEND)


def write(model: Any, tokenizer: Any, path: Path, kind: str) -> dict[str, str]:
    """Write weights (`f32`, `f16`, `q8_0`; vectors stay f32), settings and vocabulary.

    Gives notes: how many tensors had to stay in f16 because their rows do not fill q8_0's blocks.
    """
    try:
        import gguf
    except ImportError:
        raise MissingExtra("gguf", "builtin") from None
    words = _vocabulary(tokenizer, model.config.vocab_size)
    writer = gguf.GGUFWriter(path, "llama")
    try:
        _settings(writer, model.config, gguf.LlamaFileType, kind)
        _words(writer, tokenizer, words)
        left = _tensors(writer, model, gguf, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    said = f"{left} matrices, whose rows do not fill its blocks"
    return {"f16 in place of q8_0": said} if left else {}


def _settings(writer: Any, config: Any, types: Any, kind: str) -> None:
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    rope = getattr(config, "rope_parameters", None) or {}
    named = {"f32": types.ALL_F32, "f16": types.MOSTLY_F16, "q8_0": types.MOSTLY_Q8_0}
    writer.add_name("merged by gen_msa")
    writer.add_file_type(named[kind])
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or 10_000.0))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _tensors(writer: Any, model: Any, gguf: Any, kind: str) -> int:
    config, left = model.config, 0
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    types = gguf.GGMLQuantizationType
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if ours is None:
            raise UserError(f"GGUF has no name for the tensor {name}", mend=_MEND)
        data = tensor.detach().float().cpu().numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            count = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            data = _halves_paired(data, count)
        chosen = types.F32 if data.ndim == 1 or kind == "f32" else types.F16
        if kind == "q8_0" and data.ndim > 1:
            fits = data.shape[-1] % gguf.GGML_QUANT_SIZES[types.Q8_0][0] == 0
            chosen, left = (types.Q8_0, left) if fits else (types.F16, left + 1)
        packed = gguf.quants.quantize(data, chosen)
        writer.add_tensor(ours, packed, raw_dtype=chosen)
    return left


def _halves_paired(data: Any, heads: int) -> Any:
    """Rows in llama.cpp's order: it turns neighbours, transformers turns row i with i + size/2."""
    shape = (heads, 2, data.shape[0] // heads // 2, *data.shape[1:])
    return data.reshape(shape).swapaxes(1, 2).reshape(data.shape)


def _vocabulary(tokenizer: Any, size: int) -> dict[str, Any]:
    """Tokens, their kinds, merges and the splitter's name, from the fast tokenizer's own JSON."""
    tree = json.loads(tokenizer.backend_tokenizer.to_str())
    model = tree["model"]
    splitter = _splitter(tree)
    if model["type"] != "BPE" or splitter is None or tree.get("normalizer"):
        raise UserError(
            "GGUF is written for byte-level BPE tokenizers of the kinds gpt-2, smollm and "
            "llama-bpe; this one splits words otherwise",
            mend=_MEND,
        )
    tokens = {number: (word, _NORMAL) for word, number in model["vocab"].items()}
    for added in tree["added_tokens"]:
        tokens[added["id"]] = added["content"], _CONTROL if added["special"] else _OWN
    if max(tokens) >= size:
        raise UserError(f"the tokenizer has more words than the model's {size:,}", mend=_MEND)
    every = [tokens.get(i, (f"[PAD{i}]", _UNUSED)) for i in range(size)]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    words, kinds = zip(*every, strict=True)
    return {"words": list(words), "kinds": list(kinds), "merges": merges, "splitter": splitter}


def _splitter(tree: dict[str, Any]) -> str | None:
    """llama.cpp's name for how the text is cut before BPE, or None when it is none of ours."""
    first = tree.get("pre_tokenizer") or {}
    steps = first.get("pretokenizers", [first])
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return None
    kinds, own = [s["type"] for s in steps], steps[-1].get("use_regex", True)
    if kinds == ["ByteLevel"] and own:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and own and steps[0].get("individual_digits"):
        return "smollm"
    pattern = str(steps[0].get("pattern", {}).get("Regex", ""))
    llama3 = pattern.startswith(_LLAMA3_HEAD) and _LLAMA3 in pattern
    return "llama-bpe" if kinds == ["Split", "ByteLevel"] and llama3 and not own else None


def _words(writer: Any, tokenizer: Any, words: dict[str, Any]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words["splitter"])
    writer.add_token_list(words["words"])
    writer.add_token_types(words["kinds"])
    writer.add_token_merges(words["merges"])
    for name, add in (
        ("bos", writer.add_bos_token_id),
        ("eos", writer.add_eos_token_id),
        ("unk", writer.add_unk_token_id),
        ("pad", writer.add_pad_token_id),
    ):
        number = getattr(tokenizer, f"{name}_token_id")
        if number is not None:
            add(number)
    plain = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(plain) and plain[0] == tokenizer.bos_token_id)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
