"""A backend that answers by a function, and rows for it to judge."""

import json
import math

from gen_msa.backends import TokenCount
from gen_msa.chat import Completion
from gen_msa.evaluating.judging import Judge, JudgeSettings
from gen_msa.metrics import Pair
from gen_msa.types import Aspect, Opinion, Polarity, Post


class Scripted:
    """Answers each chat, flattened, by `say`: a text, or a whole completion."""

    sees_pictures = True
    lists_aspects = False

    def __init__(self, say, revision="scripted-1"):
        self.say = say
        self.revision = revision
        self.requests = []

    def complete(self, requests):
        self.requests += requests
        said = [self.say(r.chat.as_text()) for r in requests]
        return [
            s if isinstance(s, Completion) else Completion(text=s, finish_reason="stop")
            for s in said
        ]

    def count_tokens(self, chat):
        return TokenCount(len(chat.as_text().split()), 0)


def judge_of(say, root, known=None, **settings):
    """A judge and its backend."""
    backend = Scripted(say)
    given = JudgeSettings(**{"judge": "http:http://127.0.0.1/v1#some/judge", **settings})
    return Judge(backend, given, root, known), backend


def marked(number):
    """An answer in lines."""
    return f"Score: {number}\nWhy: so it is."


def scored(**probs):
    """An answer whose options were scored; `p4=0.5` is the probability of 4."""
    logs = {f" {k[1:]}": math.log(v) if v else -1e4 for k, v in probs.items()}
    return Completion(text="Score: 4\nWhy: x", finish_reason="stop", option_logprobs=logs)


def row(number, explanation, by="me", polarity=Polarity.NEGATIVE, **shown):
    """One pair about the battery of post `number`."""
    text = f"Post {number}: the battery dies at noon"
    aspect = Aspect(term="battery", start=text.index("battery"))
    post = Post(id=str(number), text=text, aspects=(aspect,))
    said = Opinion(by=by, aspect=aspect, polarity=polarity, explanation=explanation)
    gold = Opinion(by="gold", aspect=aspect, polarity=Polarity.NEGATIVE)
    return Pair(post, gold, said, f"photo-{number // 2}", shown)


def rows(count, word="It dies", by="me"):
    """`count` explanations, each with its own words."""
    return [row(i, f"{word}, number {i}.", by=by) for i in range(count)]


def write_human(path, marks, criterion="focus", rater="ann"):
    """A file of human marks about `rows`."""
    lines = [
        {"post": str(i), "aspect": "battery", "rater": rater, "scores": {criterion: m}}
        for i, m in enumerate(marks)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
