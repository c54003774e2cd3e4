"""Fine-tuning: labelled posts, with rationales, become a LoRA adapter of a multimodal LLM.

    examples ─► rows (request, target) ─► tokens ─► packed sequences ─► batches ─► loop ─► adapter

The adapter folder holds everything that inference needs.

    gen-msa finetune tiny_cpu output_dir=adapters/tiny
"""
