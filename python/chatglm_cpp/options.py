"""The options of a generation: their types, and on their way into the core."""

from __future__ import annotations

import operator
import secrets
import sys
from collections.abc import Sequence
from typing import TypedDict

from chatglm_cpp import _core
from chatglm_cpp.exceptions import InvalidArgumentError
from chatglm_cpp.types import checked_text

__all__ = ["Options"]


class Options(TypedDict, total=False):
    """What `Pipeline.chat` and `Pipeline.generate` both take; `Pipeline.chat` explains them."""

    max_length: int | None
    max_new_tokens: int | None
    max_context_length: int | None
    do_sample: bool
    top_k: int | None
    top_p: float | None
    temperature: float | None
    repetition_penalty: float | None
    min_p: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    bad_words_ids: Sequence[Sequence[int]] | None
    adapter: str | None


def core_options(
    default: _core.SamplingParams,
    *,
    max_length: int | None,
    max_new_tokens: int | None,
    max_context_length: int | None,
    do_sample: bool,
    top_k: int | None,
    top_p: float | None,
    temperature: float | None,
    repetition_penalty: float | None,
    min_p: float | None,
    seed: int | None,
    stop: str | Sequence[str] | None,
    bad_words_ids: Sequence[Sequence[int]] | None,
    adapter: str | None,
    top_logprobs: int,
) -> _core.GenerationOptions:
    """Check the options' types (the core checks their ranges) and fill in `default` for None."""
    sampling = _core.SamplingParams(
        do_sample=bool(do_sample),
        temperature=_number("temperature", temperature, default.temperature),
        top_k=default.top_k if top_k is None else checked_count("top_k", top_k),
        top_p=_number("top_p", top_p, default.top_p),
        min_p=_number("min_p", min_p, default.min_p),
        repetition_penalty=_number(
            "repetition_penalty", repetition_penalty, default.repetition_penalty
        ),
        seed=secrets.randbits(63) if seed is None else checked_count("seed", seed, 2**64 - 1),
        top_logprobs=top_logprobs,
        bad_words_ids=[
            [checked_count("bad_words_ids", token_id) for token_id in word]
            for word in bad_words_ids or []
        ],
    )
    return _core.GenerationOptions(
        sampling=sampling,
        max_length=checked_limit("max_length", max_length),
        max_new_tokens=checked_limit("max_new_tokens", max_new_tokens),
        max_context_length=checked_limit("max_context_length", max_context_length),
        stop=[
            checked_text(text, "stop") for text in ([stop] if isinstance(stop, str) else stop or [])
        ],
        adapter=checked_adapter(adapter),
    )


def checked_adapter(name: str | None) -> str:
    """Return an adapter's name as the core takes it: empty for none."""
    if name is None:
        return ""
    if not checked_text(name, "adapter"):
        raise InvalidArgumentError("adapter: expected a name, found an empty one")
    return name


def checked_count(name: str, value: int, most: int = 2**31 - 1) -> int:
    """Return `value` if it is a whole number from 0 to `most`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{name} is a whole number, found {value!r}") from None
    if not 0 <= number <= most:
        raise InvalidArgumentError(f"{name} is from 0 to {most}, found {number}")
    return number


def checked_limit(name: str, value: int | None) -> int | None:
    """Return `value` if it is None or a whole number; the core refuses what is too small."""
    return None if value is None else checked_count(name, value, sys.maxsize)


def _number(name: str, value: float | None, default: float) -> float:
    if value is None:
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"{name} is a number, found {value!r}") from None
