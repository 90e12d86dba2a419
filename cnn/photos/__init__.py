"""Photographs of several faces: finding them, cropping them as the training data is, drawing what was predicted."""
