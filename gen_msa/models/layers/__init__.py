"""Layers that several students share: text encoder and attention."""
