"""From a parse to words about an aspect: trees, pruning, wording; and aspects from a parse.

What the syntax cue is made of, in parts that are of use alone. Knows nothing of prompts or models.

    prune(tree, spans, Pruning(k=2))    # which words belong to which aspect
    FORMS["phrase"](tree, kept, "battery", 60)
    candidates(posts)                   # aspects for readers too weak to list them
"""

from gen_msa.cues.parsing.proposing import candidates
from gen_msa.cues.parsing.pruning import Kept, Pruning, predicates, prune
from gen_msa.cues.parsing.tree import Tree, from_parse
from gen_msa.cues.parsing.wording import FORMS, read_triples

__all__ = [
    "FORMS",
    "Kept",
    "Pruning",
    "Tree",
    "candidates",
    "from_parse",
    "predicates",
    "prune",
    "read_triples",
]
