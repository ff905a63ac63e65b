"""How the converter fails. Knows no file format."""

from __future__ import annotations

from ..exceptions import ConversionError, UnsupportedModelError

__all__ = ["ConversionError", "UnsupportedCheckpointError"]


class UnsupportedCheckpointError(ConversionError, UnsupportedModelError):
    """The checkpoint is sound, but it is one of a model we do not run."""
