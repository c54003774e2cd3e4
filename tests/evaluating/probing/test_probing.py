"""The door: what every probe does, and what is counted, drawn and refused."""

from pathlib import Path

import numpy as np
import pytest

from gen_msa.errors import UserError
from gen_msa.evaluating.probing import probe, probes
from gen_msa.evaluating.probing._bench import Bench
from gen_msa.evaluating.probing._figures import Ratio, values
from gen_msa.readers import ReaderSettings, Reading, make
from gen_msa.results import Value
from gen_msa.types import Opinion, Status
from tests.evaluating.probing.doubles import Double, by_word, decided, gold, run, sentence
from tests.fixtures.posts import write_posts

EXAMPLES = decided(30)
BENCH = Bench(Double(by_word), ReaderSettings(), Path(), (), seed=3, replicates=2000)


def quoting(post, aspect):
    return next((w for w in ("dreadful", "splendid", "plain") if w in post.text), "")


def explaining(post, aspect, label):
    return f'It says "{quoting(post, aspect)}".'


def test_there_are_six_probes():
    assert probes.names() == [
        "aspect_swap", "consistency", "cue_swap", "erasure", "picture_ablation", "simulatability",
    ]  # fmt: skip


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_gives_the_figures_it_names_in_order(name):
    reader = Double(by_word, explaining, quoting)
    probed = run(name, reader, EXAMPLES)
    assert list(probed.figures) == [f.name for f in probes[name].figures]
    for value in probed.figures.values():
        assert value.value is not None or value.note
        assert value.low is None or value.low <= value.value <= value.high


@pytest.mark.parametrize("name", ["erasure", "aspect_swap"])
def test_the_same_seed_gives_the_same_and_the_order_of_rows_is_nothing(name):
    def found(examples, seed):
        reader = Double(by_word, explaining, quoting)
        probed = run(name, reader, examples, seed=seed, limit=9)
        return {t.post for t in probed.trials}, {k: v.value for k, v in probed.figures.items()}

    chosen, figures = found(EXAMPLES, 0)
    assert (chosen, figures) == found(EXAMPLES[::-1], 0)
    assert len(chosen) == 9
    assert chosen != found(EXAMPLES, 1)[0]
    assert chosen <= {t.post for t in run(name, Double(by_word, explaining, quoting), EXAMPLES,
                                          limit=20).trials}  # fmt: skip


def test_an_answer_without_a_label_is_no_row():
    said = [Reading((Opinion(by="r", aspect=e.post.aspects[0], status=Status.EMPTY),))
            for e in EXAMPLES]  # fmt: skip
    reader = Double(by_word)
    found = probe(["aspect_swap"], reader, ReaderSettings(), EXAMPLES, said, Path())
    assert "not applicable" in found["aspect_swap"].figures["followed"].note
    assert reader.asked == []


def test_a_reader_that_only_repeats_a_file_cannot_be_asked_anew(tmp_path):
    reader = Double(by_word, explaining, quoting)
    said = [e.adding(*reader.opinion(e.post, e.post.aspects[0]) and
                     (reader.opinion(e.post, e.post.aspects[0]),)) for e in EXAMPLES]  # fmt: skip
    path = write_posts(tmp_path / "posts.jsonl", [])
    path.write_text("\n".join(e.model_dump_json() for e in said) + "\n")
    settings = ReaderSettings(reader=f"file:{path}#double")
    probed = run("aspect_swap", make(settings, tmp_path), EXAMPLES, settings=settings)
    assert probed.figures["rename_flip_rate"].value is None
    assert "30 of 30 could not be read" in probed.figures["rename_flip_rate"].note
    assert "has another text" in probed.trials[0].note


def test_a_post_whose_aspects_the_reader_found_is_asked_about_those():
    bare = sentence(0, "dreadful").model_copy(update={"aspects": ()})
    aspect = sentence(0, "dreadful").aspects[0]
    reader = Double(by_word, quote=quoting)
    said = [Reading((reader.opinion(bare, aspect),))] * 2
    other = bare.model_copy(update={"id": "other"})
    probe(["erasure"], reader, ReaderSettings(), [gold(bare), gold(other)], said, Path())
    assert {p.aspects for p in reader.asked} == {(aspect,)}


def test_unknown_probes_and_uneven_lists_are_errors():
    with pytest.raises(UserError, match="did you mean 'erasure'"):
        probe(["erasures"], Double(by_word), ReaderSettings(), [], [], Path())
    with pytest.raises(ValueError, match="shorter"):
        probe(["erasure"], Double(by_word), ReaderSettings(), EXAMPLES, [], Path())


def test_rows_of_one_picture_are_drawn_together_unless_told_otherwise():
    top = [1.0] * 50 + [0.0] * 50
    alone = values({"x": Ratio(top)}, [str(i) for i in range(100)], BENCH)["x"]
    pairs = values({"x": Ratio(top)}, [str(i // 10) for i in range(100)], BENCH)["x"]
    assert alone.value == pairs.value == 0.5
    assert pairs.high - pairs.low > 2 * (alone.high - alone.low)
    assert alone.how == "cluster bootstrap, 2000 replicates, seed 3, 100 clusters"


def test_figures_by_hand():
    clusters = ["a", "a", "b", "c"]
    found = values(
        {
            "mean": Ratio([1.0, None, 0.5, None], note="k"),
            "ratio": Ratio([1.0, 0.0, 1.0, None], [1.0, 1.0, 0.0, 1.0]),
            "none": Ratio([None] * 4, note="why"),
            "zero": Ratio([0.0] * 4, [0.0] * 4),
        },
        clusters,
        BENCH,
    )
    assert (found["mean"].value, found["mean"].n, found["mean"].note) == (0.75, 2, "k")
    assert (found["ratio"].value, found["ratio"].n) == (1.0, 3)
    assert found["none"] == Value(value=None, n=0, note="undefined: no row counts; why")
    assert found["zero"].note == "undefined: it would be divided by zero"


def test_one_cluster_has_a_figure_and_no_interval():
    found = values({"x": Ratio([1.0, 0.0])}, ["a", "a"], BENCH)["x"]
    assert (found.value, found.low) == (0.5, None)
    assert "1 cluster" in found.note


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for seed in range(100):
        sample = [float(x) for x in rng.random(60) < 0.3]
        bench = Bench(BENCH.reader, BENCH.settings, Path(), (), seed=seed, replicates=400)
        one = values({"x": Ratio(sample)}, [str(i) for i in range(60)], bench)["x"]
        hits += one.low <= 0.3 <= one.high
    assert 86 <= hits <= 100
