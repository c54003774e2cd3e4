"""The script for `accelerate launch`: the same run as `gen-msa finetune RECIPE key=value`.

From an installed wheel use `-m gen_msa.finetuning` instead.

    accelerate launch finetune/lora.py --recipe tiny_cpu learning_rate=1e-4
"""

from gen_msa.finetuning.__main__ import main

if __name__ == "__main__":
    main()
