"""Pseudonyms: handles, names, addresses and phone numbers are replaced before a model is asked.

Its answer has the originals again, so that quotes and offsets are those of the post. The same item
has the same placeholder everywhere: a keyed hash, whose key never leaves this machine.

    disguise = Pseudonymizer(("handles", "urls")).disguise("@ana loves https://t.co/x")
    disguise.text                                   # "@user7kq2mzb loves https://link9x3pfcd.example"
    disguise.restore("@user7kq2mzb is happy")       # "@ana is happy"
"""

from gen_msa.pseudonyms.disguise import Disguise, NamesNotFindable, Pseudonymizer
from gen_msa.pseudonyms.items import ITEM_KINDS, ItemKind, ItemKinds, parse_kinds

__all__ = [
    "ITEM_KINDS",
    "Disguise",
    "ItemKind",
    "ItemKinds",
    "NamesNotFindable",
    "Pseudonymizer",
    "parse_kinds",
]
