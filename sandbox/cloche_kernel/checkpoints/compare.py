"""x"""
from __future__ import annotations
from typing import Any
def needs_proof(taken: Any, proven: set[str]) -> bool:
    return False
def digest(values: Any, scope: Any) -> bytes:
    return b""
