"""Parse model answers into opinions and verdicts.

completion = Completion(text="Sentiment: positive", finish_reason="stop")
parse_opinion(prompt, completion, post, post.aspects[0], annotator="builtin")
"""

from gen_msa.prompting.parsing._verdicts import Verdict, parse_verdict
from gen_msa.prompting.parsing.opinions import parse_aspects, parse_opinion

__all__ = ["Verdict", "parse_aspects", "parse_opinion", "parse_verdict"]
