"""Distilling: what a reader said of posts, gold or teacher, becomes a compact student.

    Example ─► rows (text, aspect, polarity) ─► batches ─► loop ─► student folder

Knows nothing of how a student is served. Its folder says all that reading needs.

    gen-msa distill text output_dir=students/mine
"""
