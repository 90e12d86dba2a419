"""Training: losses, optimizers, schedules, augmentation, the loop, checkpoints. Knows arrays, not image files."""
