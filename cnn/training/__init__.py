"""Training: losses, optimizers, schedules, augmentation, the loop, checkpoints. It reads arrays, not image files."""
