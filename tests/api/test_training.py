"""`gm.finetune` and `gm.distill` run recipes as the command line does."""

import pytest

import gen_msa as gm
from gen_msa.api.training import _overrides
from gen_msa.errors import UserError


def test_options_are_overrides_of_the_recipe(tmp_path):
    overrides = _overrides(tmp_path, {"data.0.source": "a b.jsonl"}, {"seed": 1, "cues": None})

    assert overrides == [
        'data.0.source="a b.jsonl"',
        "seed=1",
        "cues=null",
        f'output_dir="{tmp_path}"',
    ]


@pytest.mark.parametrize("verb", [gm.finetune, gm.distill])
def test_unknown_recipe_and_key_are_named(verb, tmp_path):
    with pytest.raises(UserError, match="no-such"):
        verb("no-such")
    with pytest.raises(UserError, match="learning_rat"):
        verb({gm.finetune: "tiny_cpu", gm.distill: "text"}[verb], learning_rat=1)


@pytest.mark.models
@pytest.mark.slow
def test_finetune_returns_an_adapter_that_loads(tmp_path):
    adapter = gm.finetune("tiny_cpu", output_dir=tmp_path / "run", max_steps=3, dev=[])

    assert (adapter / "adapter_model.safetensors").is_file()
    opinions = gm.load(f"builtin:{adapter}").explain("Great screen", aspects=["screen"])
    assert len(opinions) == 1
