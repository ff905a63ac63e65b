"""What a person can choose about the reading of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Choices that override what would be recognised; "auto" leaves it to the checkpoint."""

    model_type: str = "auto"
    logn_attention: str = "auto"
