"""gen_msa: what people feel about each thing they mention, in text and pictures, and why.

A `Post` comes in, readers add `Opinion`s to it, and a metric compares readers. The nouns live in
`gen_msa.types`; nothing heavy is imported here.
"""

__version__ = "0.1.0"
