"""A backend that answers by a function, and rows for it to judge."""

import json
import math

from gen_msa.backends import TokenCount
from gen_msa.chat import Completion
from gen_msa.evaluation.llm_judge import Judge, JudgeSettings
from gen_msa.metrics import Pair
from gen_msa.types import Aspect, Opinion, Polarity, Post


class ScriptedBackend:
    """Answers each flattened chat by `respond`: a text, or a `Completion`."""

    supports_images = True
    can_list_aspects = False

    def __init__(self, respond, revision="scripted-1"):
        self.respond = respond
        self.revision = revision
        self.requests = []

    def complete(self, requests):
        self.requests += requests
        answers = [self.respond(r.chat.as_text()) for r in requests]
        return [
            s if isinstance(s, Completion) else Completion(text=s, finish_reason="stop")
            for s in answers
        ]

    def count_tokens(self, chat):
        return TokenCount(len(chat.as_text().split()), 0)


def make_judge(respond, root, cache=None, **settings):
    """Build a judge and its backend."""
    backend = ScriptedBackend(respond)
    judge_settings = JudgeSettings(**{"model": "http:http://127.0.0.1/v1#some/judge", **settings})
    return Judge(backend, judge_settings, root, cache), backend


def rating_answer(score):
    """Return an answer with a score, in lines."""
    return f"Score: {score}\nWhy: so it is."


def scored_completion(**probs):
    """Build an answer with option probabilities; `p4=0.5` is the probability of 4."""
    logs = {f" {k[1:]}": math.log(v) if v else -1e4 for k, v in probs.items()}
    return Completion(text="Score: 4\nWhy: x", finish_reason="stop", option_logprobs=logs)


def make_pair(number, explanation, annotator="me", polarity=Polarity.NEGATIVE, **extra_inputs):
    """Build one pair about the battery of post `number`."""
    text = f"Post {number}: the battery dies at noon"
    aspect = Aspect(term="battery", start=text.index("battery"))
    post = Post(id=str(number), text=text, aspects=(aspect,))
    prediction = Opinion(
        annotator=annotator, aspect=aspect, polarity=polarity, explanation=explanation
    )
    gold = Opinion(annotator="gold", aspect=aspect, polarity=Polarity.NEGATIVE)
    return Pair(post, gold, prediction, f"photo-{number // 2}", extra_inputs)


def make_pairs(count, word="It dies", annotator="me"):
    """Build `count` pairs, each with its own explanation."""
    return [make_pair(i, f"{word}, number {i}.", annotator=annotator) for i in range(count)]


def write_human_ratings(path, ratings, criterion="focus", rater="ann"):
    """Write a file of human ratings."""
    lines = [
        {"post": str(i), "aspect": "battery", "rater": rater, "scores": {criterion: rating}}
        for i, rating in enumerate(ratings)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
