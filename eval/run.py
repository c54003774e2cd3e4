"""The launcher for an evaluation: the same run as `gen-msa evaluate SUITE key=value`.

Knows nothing but where the run begins; from an installed wheel use the command instead.

    python eval/run.py twitter2015 --reader builtin replicates=2000
"""

import sys

from gen_msa.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "evaluate")
    main()
