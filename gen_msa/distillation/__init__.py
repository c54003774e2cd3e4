"""Distillation: labels or teachers' probabilities of posts train a compact student model.

    Example ─► rows (text, aspect, polarity) ─► batches ─► training loop ─► student folder

The student's folder holds everything that `--model student:DIR` needs.

    gen-msa distill text output_dir=students/mine
"""
