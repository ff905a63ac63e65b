"""A local runtime for the GLM family of language models.

>>> import chatglm_cpp
>>> pipeline = chatglm_cpp.Pipeline()  # the bundled demo model; or the path of yours
>>> print(pipeline.chat("你好", do_sample=False).role)
assistant
"""

from chatglm_cpp._core import __version__
from chatglm_cpp.exceptions import (
    ChatGLMError,
    ContextLengthError,
    ConversionError,
    DeviceError,
    InvalidArgumentError,
    ModelFileError,
    UnsupportedModelError,
)
from chatglm_cpp.model import Model, ModelConfig, Statistics, Tokenizer
from chatglm_cpp.pipeline import Pipeline
from chatglm_cpp.stream import ChatStream, TextStream
from chatglm_cpp.types import (
    ChatMessage,
    CodeMessage,
    DeltaMessage,
    FunctionMessage,
    ToolCallMessage,
    TopLogprob,
)

__all__ = [
    "ChatGLMError",
    "ChatMessage",
    "ChatStream",
    "CodeMessage",
    "ContextLengthError",
    "ConversionError",
    "DeltaMessage",
    "DeviceError",
    "FunctionMessage",
    "InvalidArgumentError",
    "Model",
    "ModelConfig",
    "ModelFileError",
    "Pipeline",
    "Statistics",
    "TextStream",
    "Tokenizer",
    "ToolCallMessage",
    "TopLogprob",
    "UnsupportedModelError",
    "__version__",
]
