"""What both training loops share: processes, checkpoints, run log, validation, card, launch."""
