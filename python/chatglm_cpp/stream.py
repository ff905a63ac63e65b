"""Answers that come piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

from chatglm_cpp import _core
from chatglm_cpp.types import ChatMessage, DeltaMessage, TopLogprob, from_core_message

__all__ = ["ChatStream", "TextStream"]


class _Answer:
    """A running generation. Closing or dropping it ends the generation."""

    def __init__(self, generation: _core.Generation) -> None:
        self._generation = generation

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended: ``"stop"``, ``"length"``, ``"cancelled"``; None while it runs."""
        return self._generation.finish_reason if self._generation.finished else None

    @property
    def proposed_tokens(self) -> int:
        """How many tokens of it were guessed and verified so far."""
        return self._generation.proposed_tokens

    @property
    def accepted_tokens(self) -> int:
        """How many of those guesses were right."""
        return self._generation.accepted_tokens

    def close(self) -> None:
        """End the generation; what has come so far remains."""
        self._generation.cancel()

    def _next_delta(self) -> _core.TextDelta:
        delta = self._generation.next()
        if delta is None:
            raise StopIteration
        return delta

    def _run_to_end(self) -> None:
        while self._generation.next() is not None:
            pass


class ChatStream(_Answer, Iterator[DeltaMessage]):
    """The pieces of an answer, as `Pipeline.chat` gives them with ``stream=True``.

    Examples
    --------
    >>> from chatglm_cpp import Pipeline
    >>> stream = Pipeline().chat("hello", do_sample=False, stream=True)
    >>> text = "".join(delta.content for delta in stream)
    >>> stream.message.content == text.strip()
    True
    """

    def __init__(
        self, generation: _core.Generation, *, logprobs: bool = False, top_logprobs: bool = False
    ) -> None:
        super().__init__(generation)
        self._logprobs = logprobs
        self._top_logprobs = top_logprobs

    def __next__(self) -> DeltaMessage:
        """Wait for the next piece."""
        delta = self._next_delta()
        message = DeltaMessage(
            ChatMessage.ROLE_ASSISTANT,
            delta.text,
            delta.token_ids,
            reasoning_content=delta.thoughts,
        )
        if self._logprobs:
            message.logprobs = [token.logprob for token in delta.tokens]
        if self._top_logprobs:
            message.top_logprobs = [
                [TopLogprob(top.token, top.logprob) for top in token.top_logprobs]
                for token in delta.tokens
            ]
        return message

    @property
    def message(self) -> ChatMessage:
        """The whole answer, tool calls read; runs the generation to its end first."""
        self._run_to_end()
        return from_core_message(self._generation.message)


class TextStream(_Answer, Iterator[str]):
    """The pieces of a text, as `Pipeline.generate` gives them with ``stream=True``."""

    def __next__(self) -> str:
        """Wait for the next piece."""
        return self._next_delta().text

    @property
    def text(self) -> str:
        """The whole text; runs the generation to its end first."""
        self._run_to_end()
        return self._generation.text
