"""The base of all packages: errors for people, atomic files, the Hydra entry point, log loss.

Imports no other package of the project.
"""
