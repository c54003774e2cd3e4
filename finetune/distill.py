"""The script for `accelerate launch`: the same run as `gen-msa distill RECIPE key=value`.

From an installed wheel use `-m gen_msa.distillation` instead.

    python finetune/distill.py --recipe text learning_rate=3e-5
    accelerate launch --multi_gpu --num_processes 2 finetune/distill.py --recipe text
"""

from gen_msa.distillation.__main__ import main

if __name__ == "__main__":
    main()
