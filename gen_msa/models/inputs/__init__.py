"""Inputs of students: token batches, image features, feature tensors."""
