"""Stub."""

from __future__ import annotations

from typing import Any, Protocol

from clipfuse.encoders import Modality


class View(Protocol):
    """x"""

    @property
    def name(self) -> str:
        """x"""
        ...

    @property
    def modality(self) -> Modality:
        """x"""
        ...

    def settings(self) -> str:
        """x"""
        ...

    def apply(self, item: Any, digest: bytes) -> Any:
        """x"""
        ...
