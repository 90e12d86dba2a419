"""What stands inside a page that loads nothing: images as `data:` addresses, checksums of scripts and styles."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any


def png_uri(picture: Any) -> str:
    """The address of a `PIL.Image.Image` as PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def policy_hash(text: str) -> str:
    """How a Content-Security-Policy allows a script or style that stands in the page, and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
