"""Run an evaluation from a checkout: the same as `gen-msa evaluate SUITE key=value`.

From an installed wheel use the command instead.

    python eval/run.py twitter2015 --model builtin replicates=2000
"""

import sys

from gen_msa.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "evaluate")
    main()
