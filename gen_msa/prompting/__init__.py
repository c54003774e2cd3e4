"""Prompting: from a post and a prompt file to a request, and from the answer back to opinions.

Every text that a model reads is in `prompts/*.jinja`; this package fills it in and parses the
answer.

    prompt = load_prompt("predict/full")
    request = render(prompt, post, post.aspects[0], cues={}, images=())
    opinion = parse_opinion(prompt, completion, post, post.aspects[0], annotator="builtin")
"""

from gen_msa.prompting.parsing import Verdict, parse_aspects, parse_opinion, parse_verdict
from gen_msa.prompting.prompt import Prompt, load_prompt, prompt_names
from gen_msa.prompting.rendering import render, without_explanation
from gen_msa.prompting.training_targets import (
    TargetField,
    TargetSegment,
    TrainingTarget,
    build_target,
)

__all__ = [
    "Prompt",
    "TargetField",
    "TargetSegment",
    "TrainingTarget",
    "Verdict",
    "build_target",
    "load_prompt",
    "parse_aspects",
    "parse_opinion",
    "parse_verdict",
    "prompt_names",
    "render",
    "without_explanation",
]
