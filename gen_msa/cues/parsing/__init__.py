"""From a parse to words about an aspect: trees, pruning, linearization; and aspects from a parse.

prune(tree, spans, PruningRules(k=2))    # which words belong to which aspect
FORMS["phrase"](tree, subtree, "battery", 60)
aspect_candidates(posts)                 # aspects for models that cannot list them
"""

from gen_msa.cues.parsing.aspect_candidates import aspect_candidates
from gen_msa.cues.parsing.linearize import (
    FORMS,
    AspectSubtree,
    PruningRules,
    parse_triples,
    predicate_subtree,
    prune,
)
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
