"""Sweeps and searches: which jobs are done, running the others here or in processes of their own, and Optuna."""
