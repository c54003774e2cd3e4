"""BERTScore: equal to its formula with a tiny encoder made here, and sane with the real one."""

import math

import pytest
import torch
import transformers

from gen_msa.errors import MissingExtra, UserError
from gen_msa.manifest import sha256
from gen_msa.metrics import Undefined, metrics
from gen_msa.metrics._references import need
from tests.metrics.saying import WORDS, explained, figures, texts

Bertscore = metrics["bertscore"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random encoder of two layers that knows our words."""
    where = tmp_path_factory.mktemp("encoder")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", *dict.fromkeys(WORDS)]
    tokenizer = transformers.BertTokenizer(vocab={p: i for i, p in enumerate(pieces)})
    tokenizer.model_max_length = 16
    tokenizer.save_pretrained(where)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=len(pieces), intermediate_size=32, **sizes)
    transformers.BertModel(config).save_pretrained(where)
    return where


def formula(folder, said, gold, layer=2, longest=16):
    """Precision, recall and F1, one text at a time and piece by piece."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    states = []
    for text in (said, gold):
        asked = tokenizer(text, return_tensors="pt", truncation=True, max_length=longest)
        with torch.no_grad():
            states.append(model(**asked, output_hidden_states=True).hidden_states[layer][0])
    a, b = states
    table = [[torch.cosine_similarity(x, y, dim=0).item() for y in b] for x in a]
    precision = sum(max(row) for row in table[1:-1]) / (len(a) - 2)
    recall = sum(max(column) for column in list(zip(*table, strict=True))[1:-1]) / (len(b) - 2)
    return 2 * precision * recall / (precision + recall), precision, recall


@pytest.mark.parametrize("layer", [1, None])
def test_random_pairs_agree_with_the_formula_however_they_are_batched(folder, layer):
    stock = [t for t in texts(6, 40) if t[0]]
    rows = Bertscore(encoder=str(folder), layer=layer, batch=7).rows(explained(*stock))
    for row, (said, gold) in zip(rows, stock, strict=True):
        expected = formula(folder, said.strip(), gold, layer or 2)
        assert row[1:].tolist() == pytest.approx(expected, abs=1e-5)


def test_equal_texts_score_one_and_a_missing_one_zero(folder):
    family = Bertscore(encoder=str(folder))
    same = "the screen is bright"
    ours = figures(family, explained((same, same), (None, same), ("x", None)))
    assert ours["bertscore_f1"] == pytest.approx(0.5, abs=1e-6)


def test_each_distinct_text_is_encoded_once(folder):
    family = Bertscore(encoder=str(folder), batch=2)
    asked = []
    family._encoder._model.register_forward_pre_hook(
        lambda model, args, kwargs: asked.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    same = ["the screen", "the phone", "battery dies", "love it", "too soon"]
    family.rows(explained(*[(text, "nobody should buy one") for text in same * 3]))
    assert sum(asked) == len(same) + 1


def test_the_signature_carries_hash_layer_and_what_is_not_done(folder):
    made = Bertscore(encoder=str(folder)).signature
    assert f"sha256:{sha256(folder / 'model.safetensors')[:12]}" in made
    assert "|layer:2|longest:16 pieces|idf:no|rescaled:no" in made


def test_what_cannot_be_scored_is_said(folder, tmp_path):
    with pytest.raises(UserError, match="has 2 layers, not 3"):
        Bertscore(encoder=str(folder), layer=3)
    with pytest.raises(UserError, match="holds no encoder"):
        Bertscore(encoder=str(tmp_path))
    with pytest.raises(UserError, match="reads English"):
        Bertscore(language="zh")
    with pytest.raises(Undefined, match="without blanks"):
        Bertscore(encoder=str(folder)).rows(explained(("屏幕很亮", "屏幕很亮")))


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(MissingExtra, match=r"no-such-encoder is not installed"):
        need("no_such_encoder", "no-such-encoder", "encoder")


@pytest.mark.models
def test_minilm_tells_a_paraphrase_from_another_reason():
    gold = "The battery is praised because it lasts all day."
    near, far = "The battery is liked since it holds a full day.", "A singer greets her fans."
    rows = Bertscore().rows(explained((gold, gold), (near, gold), (far, gold)))
    assert rows[0, 1] == pytest.approx(1.0, abs=1e-5)
    assert rows[0, 1] > rows[1, 1] > rows[2, 1] + 0.2
    assert not math.isnan(rows.sum())
    assert Bertscore().signature.startswith("bertscore all-MiniLM-L6-v2|sha256:")
