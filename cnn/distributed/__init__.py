"""Data parallel training: several processes, each with a part of every batch. See docs/many_devices.md."""
