"""Test that BERTScore equals its formula with a tiny encoder, and is plausible with MiniLM."""

import math

import pytest
import torch
import transformers

from gen_msa.errors import MissingExtra, UserError
from gen_msa.manifest import sha256
from gen_msa.metrics import UndefinedMetric, metrics
from gen_msa.metrics._reference_based import import_optional
from tests.metrics.opinion_pairs import (
    VOCABULARY,
    compute_metrics,
    explanation_pairs,
    random_text_pairs,
)

Bertscore = metrics["bertscore"]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A random encoder of two layers that knows our words."""
    path = tmp_path_factory.mktemp("encoder")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *dict.fromkeys(VOCABULARY)]
    tokenizer = transformers.BertTokenizer(vocab={p: i for i, p in enumerate(pieces)})
    tokenizer.model_max_length = 16
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=len(pieces), intermediate_size=32, **sizes)
    transformers.BertModel(config).save_pretrained(path)
    return path


def reference_bertscore(encoder_folder, prediction, gold, layer=2, max_length=16):
    """Precision, recall and F1, one text at a time and piece by piece."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder_folder)
    model = transformers.AutoModel.from_pretrained(encoder_folder).eval()
    hidden_states = []
    for text in (prediction, gold):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_length)
        with torch.no_grad():
            hidden_states.append(model(**inputs, output_hidden_states=True).hidden_states[layer][0])
    a, b = hidden_states
    similarities = [[torch.cosine_similarity(x, y, dim=0).item() for y in b] for x in a]
    precision = sum(max(row) for row in similarities[1:-1]) / (len(a) - 2)
    recall = sum(max(column) for column in list(zip(*similarities, strict=True))[1:-1]) / (
        len(b) - 2
    )
    return 2 * precision * recall / (precision + recall), precision, recall


@pytest.mark.parametrize("layer", [1, None])
def test_bertscore_matches_reference_for_any_batching(encoder_folder, layer):
    text_pairs = [t for t in random_text_pairs(6, 40) if t[0]]
    rows = Bertscore(encoder=str(encoder_folder), layer=layer, batch_size=7).row_statistics(
        explanation_pairs(*text_pairs)
    )
    for row, (prediction, gold) in zip(rows, text_pairs, strict=True):
        expected = reference_bertscore(encoder_folder, prediction.strip(), gold, layer or 2)
        assert row[1:].tolist() == pytest.approx(expected, abs=1e-5)


def test_bertscore_of_equal_texts_is_one_and_of_missing_zero(encoder_folder):
    family = Bertscore(encoder=str(encoder_folder))
    sentence = "the screen is bright"
    scores = compute_metrics(
        family, explanation_pairs((sentence, sentence), (None, sentence), ("x", None))
    )
    assert scores["bertscore_f1"] == pytest.approx(0.5, abs=1e-6)


def test_bertscore_encodes_each_distinct_text_once(encoder_folder):
    family = Bertscore(encoder=str(encoder_folder), batch_size=2)
    batch_sizes = []
    family._encoder._model.register_forward_pre_hook(
        lambda model, args, kwargs: batch_sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    distinct_texts = ["the screen", "the phone", "battery dies", "love it", "too soon"]
    family.row_statistics(
        explanation_pairs(*[(text, "nobody should buy one") for text in distinct_texts * 3])
    )
    assert sum(batch_sizes) == len(distinct_texts) + 1


def test_bertscore_signature(encoder_folder):
    signature = Bertscore(encoder=str(encoder_folder)).signature
    assert f"sha256:{sha256(encoder_folder / 'model.safetensors')[:12]}" in signature
    assert "|layer:2|longest:16 pieces|idf:no|rescaled:no" in signature


def test_bertscore_rejects_unsupported_input(encoder_folder, tmp_path):
    with pytest.raises(UserError, match="has 2 layers, not 3"):
        Bertscore(encoder=str(encoder_folder), layer=3)
    with pytest.raises(UserError, match="holds no encoder"):
        Bertscore(encoder=str(tmp_path))
    with pytest.raises(UserError, match="is for English"):
        Bertscore(language="zh")
    with pytest.raises(UndefinedMetric, match="without spaces"):
        Bertscore(encoder=str(encoder_folder)).row_statistics(
            explanation_pairs(("屏幕很亮", "屏幕很亮"))
        )


def test_import_optional_names_missing_package():
    with pytest.raises(MissingExtra, match=r"no-such-encoder is not installed"):
        import_optional("no_such_encoder", "no-such-encoder", "encoder")


@pytest.mark.models
def test_minilm_bertscore_ranks_paraphrase_over_unrelated_text():
    gold = "The battery is praised because it lasts all day."
    paraphrase, unrelated = (
        "The battery is liked since it holds a full day.",
        "A singer greets her fans.",
    )
    rows = Bertscore().row_statistics(
        explanation_pairs((gold, gold), (paraphrase, gold), (unrelated, gold))
    )
    assert rows[0, 1] == pytest.approx(1.0, abs=1e-5)
    assert rows[0, 1] > rows[1, 1] > rows[2, 1] + 0.2
    assert not math.isnan(rows.sum())
    assert Bertscore().signature.startswith("bertscore all-MiniLM-L6-v2|sha256:")
