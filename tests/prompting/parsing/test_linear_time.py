"""Any answer of 1 MB is parsed in linear time: in about 0.1 s, where quadratic time is minutes."""

import time

import pytest

from gen_msa.chat import Completion
from gen_msa.prompting import load_prompt, parse_aspects, parse_opinion
from gen_msa.prompting.parsing.opinions import collect_evidence
from gen_msa.types import Aspect, Post

MB = 1_000_000
UNITS = [
    *["a", " ", "\n", "*", "{", "}", "{}", "[", '"', "'", "\\", '\\"', '{"', "{'a", '{"a":{', "`"],
    *[
        "sentiment ",
        "sentiment:",
        "sentiment:\n",
        "Sentiment: positive\n",
        "not positive ",
        "```\n",
    ],
    *["[THINK]", "[/THINK]", "<answer>", "</answer>", "<|im_end|>", "\\boxed{", "<sentiment>"],
    *[
        "<a>",
        "</a>",
        "<a>\n</a>",
        "[[A]]",
        "{'a': ",
        "{'a': 1}",
        "<|channel|>",
        "analysis",
        "{ // a\n",
    ],
    *[
        "<think>",
        "</think>",
        "Thinking...\n",
        "# Thoughts\n",
        "# Answer\n",
        "é",
        "e\u0301",
        "正面",
        "情感：",
        "“",
        "‘a",
        "'a",
        " 'a",
        "- ",
        ": ",
    ],
    *[
        "positive ",
        "positive, ",
        "explanation ",
        "x. ",
        "aspect: a\n",
        '"sentiment": "a", ',
        "\u200b",
    ],
    *[
        "Sentiment of ",
        "(",
        "sentiment (",
        '{"sentiment": "positive"}',
        "\u0301",
        "\U0001f600",
        "-1 ",
    ],
]
PREFIXES = ["", "Sentiment: positive", '{"sentiment": "', "Explanation: "]


def cpu_seconds(func, *args):
    started = time.process_time()
    func(*args)
    return time.process_time() - started


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_one_megabyte_answer_takes_linear_time(unit):
    post = Post(id="1", text="Screen great, battery awful")
    aspect = Aspect(term="battery", start=14)
    opinion_prompt, aspects_prompt = load_prompt("predict/full"), load_prompt("predict/aspects")
    for prefix in PREFIXES:
        text = prefix + unit * (MB // len(unit))
        completion = Completion(text=text, finish_reason="stop")
        assert cpu_seconds(parse_opinion, opinion_prompt, completion, post, aspect, "me") < 2
        assert cpu_seconds(parse_aspects, aspects_prompt, completion, post, "me") < 2


@pytest.mark.parametrize(
    "unit", ["a", "e\u0301", "\u0301", "ß", "İ", "\u1100\u1161", "\u200b"], ids=ascii
)
def test_quotes_are_located_in_long_post_in_two_seconds(unit):
    text = unit * (100_000 // len(unit))
    quotes = [unit * 20 + "b", unit * 300, unit]
    assert cpu_seconds(collect_evidence, None, quotes, text, "battery") < 2
