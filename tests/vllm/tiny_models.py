"""Tiny random models of shapes that vLLM takes, and adapters for them as training writes them."""

from pathlib import Path

import torch
import transformers as hf

from gen_msa import prompting
from tests.backends import tiny_adapters
from tests.fixtures.tiny_parts import VISION, text_settings
from tests.fixtures.tiny_tokenizers import SMOLVLM, tiny_tokenizer

PROMPT = "predict/plain"
INFERENCE = {"prompt": PROMPT, "cues": {}, "max_new_tokens": 24, "image": {"max_pixels": 2000}}
_HEADS = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 4096,
}


def llama(folder: Path) -> Path:
    torch.manual_seed(3)
    config = hf.LlamaConfig(**{**text_settings("llama"), **_HEADS})
    return _save(hf.LlamaForCausalLM(config), tiny_tokenizer("llama"), folder)


def idefics3(folder: Path) -> Path:
    torch.manual_seed(3)
    tokenizer = tiny_tokenizer("smolvlm")
    images = hf.Idefics3ImageProcessorPil(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 28}
    )
    config = hf.Idefics3Config(
        text_config=hf.LlamaConfig(**{**text_settings("smolvlm"), **_HEADS}),
        vision_config={**VISION, "hidden_size": 64, "image_size": 28, "patch_size": 7},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    processor = hf.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=SMOLVLM)
    return _save(hf.Idefics3ForConditionalGeneration(config), processor, folder)


def adapter(base: Path, folder: Path, **lora) -> Path:
    """Save an adapter with a visible effect: its scale is sixteen times its rank's."""
    digest = prompting.load_prompt(PROMPT).digest
    lora = {"r": 4, "lora_alpha": 64, **lora}
    return tiny_adapters.train(base, folder, prompts={PROMPT: digest}, inference=INFERENCE, **lora)


def _save(model, processor, folder: Path) -> Path:
    # With nearly equal scores a tie could hide a difference.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.mul_(4.0)
    model.float().eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
