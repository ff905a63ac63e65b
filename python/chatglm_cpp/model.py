"""The parts of a pipeline that can be asked by themselves: tokenizer and network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chatglm_cpp import _core
from chatglm_cpp.exceptions import UnsupportedModelError
from chatglm_cpp.options import checked_adapter
from chatglm_cpp.types import Messages, to_core_messages

__all__ = ["Model", "ModelConfig", "Statistics", "Tokenizer"]


@dataclass(frozen=True)
class ModelConfig:
    """What a model is.

    Attributes
    ----------
    model_type
        The family, such as ``"chatglm3"``.
    name
        What the file calls itself; may be empty.
    vocab_size, hidden_size, num_layers, num_heads, num_kv_heads, head_dim, ffn_size
        Sizes of the network.
    max_length
        The most tokens (prompt and answer) that the model can hold.
    eos_token_ids
        Every token that ends a generation.
    """

    model_type: str
    name: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    max_length: int
    eos_token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """What a pipeline has computed; `Pipeline.stats`.

    Attributes
    ----------
    steps
        Passes through the network, each for all requests that were running.
    prompt_tokens_computed, prompt_tokens_reused
        Tokens of prompts: those that went through the network, and those that were known from
        before.
    tokens_generated
        Tokens of answers.
    tokens_proposed, tokens_accepted
        Guesses that were verified, and those that were right (see `Pipeline`'s `speculative`).
    preemptions
        How often a request had to wait because the context's memory was full.
    kv_bytes_allocated
        Memory of the context.
    """

    steps: int
    prompt_tokens_computed: int
    prompt_tokens_reused: int
    tokens_generated: int
    tokens_proposed: int
    tokens_accepted: int
    preemptions: int
    kv_bytes_allocated: int


class Tokenizer:
    """Text to token ids and back; `Pipeline.tokenizer`.

    Examples
    --------
    >>> from chatglm_cpp import Pipeline
    >>> tokenizer = Pipeline().tokenizer
    >>> tokenizer.decode(tokenizer.encode("hello"))
    'hello'
    """

    def __init__(self, core: _core.Pipeline) -> None:
        self._core = core
        self._tokenizer = core.tokenizer

    @property
    def vocab_size(self) -> int:
        """Number of token ids that have a meaning."""
        return self._tokenizer.vocab_size

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Turn text into token ids.

        Parameters
        ----------
        text
            Any text. What looks like a special token in it stays text.
        add_special_tokens
            Put ``[gMASK] sop`` before it, as the family has it before raw text; ChatGLM-6B has
            them behind it.
        """
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Turn token ids into text.

        Parameters
        ----------
        ids
            Token ids. Those that have no meaning give no text.
        skip_special_tokens
            Leave special tokens out, instead of writing their names.
        """
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def apply_chat_template(self, messages: Messages) -> list[int]:
        r"""Turn a conversation into the whole prompt; what the model says next is the answer.

        Raises
        ------
        InvalidArgumentError
            There is no message, or one of an unknown role.
        UnsupportedModelError
            The model is a base model, which knows no conversation.

        Examples
        --------
        >>> from chatglm_cpp import Pipeline
        >>> tokenizer = Pipeline().tokenizer
        >>> ids = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}])
        >>> tokenizer.decode(ids, skip_special_tokens=False)
        '[gMASK]sop<|user|> \n hello<|assistant|>'
        """
        chat_format = self._core.chat_format
        if chat_format is None:
            name = self._core.config.name or "this"
            raise UnsupportedModelError(
                f"{name} is a base model, which continues text and knows no conversation: encode "
                "plain text"
            )
        return chat_format.encode(to_core_messages(messages))


class Model:
    """The network itself; `Pipeline.model`."""

    def __init__(self, core: _core.Pipeline) -> None:
        self._core = core

    @property
    def config(self) -> ModelConfig:
        """What the model is."""
        config = self._core.config
        return ModelConfig(
            model_type=self._core.model_type,
            name=config.name,
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            ffn_size=config.ffn_size,
            max_length=config.max_length,
            eos_token_ids=tuple(self._core.tokenizer.eos_ids),
        )

    def logits(
        self, input_ids: Sequence[int], *, adapter: str | None = None
    ) -> npt.NDArray[np.float32]:
        """Compute the scores of every possible next token, after each token of a text.

        Parameters
        ----------
        input_ids
            Token ids, at least one.
        adapter
            The LoRA adapter to compute with, one of the pipeline's `adapters`; None: none.

        Returns
        -------
        ndarray
            float32, shape ``(len(input_ids), vocab_size)``: row ``i`` belongs to the token that
            follows ``input_ids[: i + 1]``.

        Raises
        ------
        InvalidArgumentError
            There is no id, or one outside the vocabulary.
        ContextLengthError
            There are more ids than the model can hold.

        Examples
        --------
        >>> from chatglm_cpp import Pipeline
        >>> pipeline = Pipeline()
        >>> ids = pipeline.tokenizer.encode("hello")
        >>> pipeline.model.logits(ids).shape == (len(ids), pipeline.model.config.vocab_size)
        True
        """
        return self._core.logits(input_ids, adapter=checked_adapter(adapter))
