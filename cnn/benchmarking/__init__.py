"""Measuring: what a training step launches, how long each part takes, and what the machine would allow."""
