"""Frozen encoders of text and images whose weights are in installed packages."""
