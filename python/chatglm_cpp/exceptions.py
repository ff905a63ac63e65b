"""What can go wrong, as exception classes.

Every error that the package raises on purpose is a `ChatGLMError`. Its text says what was expected,
what was found, and where (file, tensor, key or message).
"""

from __future__ import annotations

__all__ = [
    "ChatGLMError",
    "ContextLengthError",
    "ConversionError",
    "DeviceError",
    "InvalidArgumentError",
    "ModelFileError",
    "UnsupportedModelError",
]


class ChatGLMError(Exception):
    """The base class; raised itself where a generation or a file operation failed while running."""


class InvalidArgumentError(ChatGLMError, ValueError):
    """An argument has a value out of its range, or of the wrong kind."""


class ModelFileError(ChatGLMError, ValueError):
    """A model file is missing, damaged, truncated or not a model at all."""


class UnsupportedModelError(ChatGLMError):
    """The file is sound, but it, or what was asked of it, is something we do not run."""


class ContextLengthError(ChatGLMError, ValueError):
    """A prompt does not fit into the context; the text names both lengths."""


class DeviceError(ChatGLMError):
    """A device is missing, or its memory is exhausted."""


class ConversionError(ChatGLMError):
    """A checkpoint can't be converted."""
