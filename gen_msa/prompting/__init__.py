"""Prompting: from a post and a prompt file to a request, and from the answer back to an opinion.

Every word a model is shown stands in `prompts/*.jinja`; this room only fills it in and reads what
comes back. It knows nothing of tokens, devices or servers.

    prompt = load("reader/full")
    request = render(prompt, post, post.aspects[0], cues={}, pictures=())
    opinion = read_opinion(prompt, completion, post, post.aspects[0], by="builtin")
"""

from gen_msa.prompting.parsing import Verdict, parse_aspects, parse_opinion, parse_verdict
from gen_msa.prompting.prompt import Prompt, load_prompt, prompt_names
from gen_msa.prompting.rendering import render
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
]
