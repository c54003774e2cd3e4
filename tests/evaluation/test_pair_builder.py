"""Which rows form a cluster, and the texts that replace an image."""

import json
from pathlib import Path

from gen_msa.evaluation import EvaluationData
from gen_msa.evaluation.load import PairBuilder, cluster_id
from gen_msa.evaluation.suite import Suite
from tests.evaluation.phone_examples import TERM, example, opinion


def test_cluster_id_groups_by_image_or_by_post():
    first_example, second_example = example(1, "neutral", "a.jpg"), example(2, "neutral", "a.jpg")
    by_image, by_post = Suite(data="x"), Suite(data="x", cluster="post")
    assert (
        cluster_id(by_image, first_example) == cluster_id(by_image, second_example) == "image a.jpg"
    )
    assert cluster_id(by_post, first_example) == "post p1"
    assert cluster_id(by_image, example(3, "neutral")) == "post p3"


def test_pair_builder_puts_gold_rows_first_with_captions(tmp_path):
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"a.jpg": "a dog on a phone"}))
    without_gold = example(1, "", "b.jpg").with_opinions(opinion("r", "neutral"))
    data = EvaluationData(
        (without_gold, example(2, "positive", "a.jpg", r="positive")), Path(), "x", "0" * 64
    )
    suite = Suite(
        data="x", image_text={"caption": {"files": [{"path": str(captions), "prefix": ""}]}}
    )
    first, second = PairBuilder(suite, data).pairs_of("r")
    assert (first.post.id, first.gold.aspect) == ("p2", TERM)
    assert first.extra_inputs == {"caption": "a dog on a phone"}
    assert second.gold is None
    assert second.extra_inputs == {}
