"""What a view is, and the random numbers that it may use."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy as np

from clipfuse.encoders import Modality


class View(Protocol):
    """One fixed variant of an input; its features are a table of their own.

    Frozen dataclasses implement it: they can be pickled and used from several threads.
    """

    @property
    def name(self) -> str:
        """Canonical, part of a table's name: "flip", "rotate-10", "crop-1"; no "/", "@" or white space."""
        ...

    @property
    def modality(self) -> Modality:
        """What it takes and gives."""
        ...

    def settings(self) -> str:
        """Everything that changes what :meth:`apply` gives, as one line of text: part of the fingerprint."""
        ...

    def apply(self, item: Any, digest: bytes) -> Any:
        """The variant of an RGB ``PIL.Image`` or a caption (str), which itself stays as it is.

        Args:
            item: the input.
            digest: (16 bytes) of the input, as the cache keeps it; with the settings it seeds all that is random.
        """
        ...


def random_numbers(settings: str, digest: bytes) -> np.random.Generator:
    """The random numbers of one view of one input, the same in every order, batch, process and machine.

    Call only its ``random``: the methods above it (``integers``, ``permutation``, ...) may draw otherwise in another
    release of numpy.
    """
    seed = hashlib.sha256(settings.encode() + b"\0" + digest).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
