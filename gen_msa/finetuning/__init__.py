"""Fine-tuning: posts with labels and reasons become a LoRA adapter of a multimodal LLM.

    Example ─► rows (question, answer in fields) ─► tokens ─► branches ─► batches ─► loop ─► adapter

Knows nothing of how an adapter is served. The adapter's folder says all that reading needs.

    gen-msa finetune tiny_cpu output_dir=adapters/tiny
"""
