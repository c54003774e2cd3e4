"""Run `gen-msa` as `python -m gen_msa`."""

from gen_msa.cli import main

main()
