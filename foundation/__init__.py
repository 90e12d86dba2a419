"""What every room stands on: errors for people, atomic files, the Hydra entry point. Imports no other room."""
