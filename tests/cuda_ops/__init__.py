"""The GPU backend on the CPU emulator, against formulas written here."""
