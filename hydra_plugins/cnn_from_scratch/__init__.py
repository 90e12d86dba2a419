"""Sweepers and launchers as plugins of Hydra, which looks for them in the namespace package `hydra_plugins`.

Hydra imports every module here at the start of every command, so each imports what it needs only when it is used.
"""
