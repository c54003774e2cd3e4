"""Names of dependency relations in plain words, seen from the governor.

Knows nothing of trees.

    in_words("nsubj:pass")      # "undergoer"
"""

from gen_msa.cues.parsing.words import word_set

_RELATION_NAMES = {
    "acl": "which",
    "acomp": "complement",
    "advcl": "with clause",
    "advmod": "how",
    "agent": "by",
    "amod": "described by",
    "appos": "also called",
    "attr": "complement",
    "ccomp": "that",
    "compound": "kind",
    "compound:prt": "particle",
    "conj": "together with",
    "csubj": "subject",
    "csubjpass": "undergoer",
    "dative": "to",
    "dobj": "object",
    "flat": "name",
    "iobj": "to",
    "nmod": "kind",
    "nmod:poss": "whose",
    "npadvmod": "how",
    "nsubj": "subject",
    "nsubj:pass": "undergoer",
    "nsubjpass": "undergoer",
    "nummod": "number",
    "obj": "object",
    "obl": "with",
    "obl:npmod": "how",
    "obl:tmod": "when",
    "pcomp": "with",
    "pobj": "with",
    "oprd": "complement",
    "parataxis": "also",
    "poss": "whose",
    "prep": "with",
    "prt": "particle",
    "quantmod": "how",
    "relcl": "which",
    "xcomp": "complement",
}

SILENT_RELATIONS = word_set("aux auxpass case cc cop dep det expl mark meta preconj predet punct")
"""Relations that go unsaid in words."""

UNMARKED_RELATIONS = word_set("ccomp xcomp poss nsubj nsubjpass conj")
"""Relations named by themselves though the dependent may have a preposition or a conjunction."""


def relation_name(rel: str) -> str:
    """The relation's name, or that of its general kind, or the label itself when unknown."""
    return _RELATION_NAMES.get(rel) or _RELATION_NAMES.get(rel.partition(":")[0], rel)
