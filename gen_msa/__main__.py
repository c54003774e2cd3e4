"""`python -m gen_msa` is `gen-msa`."""

from gen_msa.cli import main

main()
