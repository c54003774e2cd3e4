"""Which rows belong together, and what is known of a picture in words."""

import json
from pathlib import Path

from gen_msa.evaluating import Gathered
from gen_msa.evaluating.pairing import Pairing, cluster
from gen_msa.evaluating.suite import Suite
from tests.evaluating.phones import TERM, example, opinion


def test_posts_of_one_picture_are_one_cluster_unless_posts_are_asked_for():
    one, two = example(1, "neutral", "a.jpg"), example(2, "neutral", "a.jpg")
    by_picture, by_post = Suite(data="x"), Suite(data="x", cluster="post")
    assert cluster(by_picture, one) == cluster(by_picture, two) == "picture a.jpg"
    assert cluster(by_post, one) == "post p1"
    assert cluster(by_picture, example(3, "neutral")) == "post p3"


def test_gold_rows_come_first_and_captions_stand_beside_them(tmp_path):
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"a.jpg": "a dog on a phone"}))
    silent = example(1, "", "b.jpg").adding(opinion("r", "neutral"))
    data = Gathered((silent, example(2, "positive", "a.jpg", r="positive")), Path(), "x", "0" * 64)
    plan = Suite(data="x", shown={"caption": {"files": [{"path": str(captions), "lead": ""}]}})
    first, second = Pairing(plan, data).of("r")
    assert (first.post.id, first.gold.aspect) == ("p2", TERM)
    assert first.shown == {"caption": "a dog on a phone"}
    assert second.gold is None
    assert second.shown == {}
