"""In a rehearsal nothing can be imported that a machine with a GPU need not have."""

import sys
from importlib.abc import MetaPathFinder
from typing import Any

MISSING = {"antlr4", "cv2", "faiss", "filelock", "hydra", "llvmlite", "numba", "omegaconf", "onnx", "torch", "yaml"}


class Refusing(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


sys.meta_path.insert(0, Refusing())
