"""From a parse to words about an aspect: trees, pruning, wording; and aspects from a parse.

What the syntax cue is made of, in parts that are of use alone. Knows nothing of prompts or models.

    prune(tree, spans, Pruning(k=2))    # which words belong to which aspect
    FORMS["phrase"](tree, kept, "battery", 60)
    candidates(posts)                   # aspects for readers too weak to list them
"""

from gen_msa.cues.parsing.aspect_candidates import aspect_candidates
from gen_msa.cues.parsing.linearize import FORMS, parse_triples
from gen_msa.cues.parsing.pruning import AspectSubtree, PruningRules, predicate_subtree, prune
from gen_msa.cues.parsing.tree import DependencyTree, tree_from_parse

__all__ = [
    "FORMS",
    "AspectSubtree",
    "DependencyTree",
    "PruningRules",
    "aspect_candidates",
    "parse_triples",
    "predicate_subtree",
    "prune",
    "tree_from_parse",
]
