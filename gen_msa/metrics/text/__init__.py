"""Helpers of the metric families that look at the text of explanations."""
