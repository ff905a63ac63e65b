"""Gathers the importance of a model's matrices by running a text through it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..evaluate.text import leading_ids, read_text, tokenize
from ..evaluate.windows import Window, sliding_windows
from ..exceptions import ChatGLMError, InvalidArgumentError
from .errors import ConversionError
from .imatrix import Imatrix, Importance

__all__ = ["gather_imatrix"]

DEFAULT_CHUNK = 512

Progress = Callable[[int, float], object]


def gather_imatrix(
    model: str | os.PathLike[str],
    text: str | os.PathLike[str],
    *,
    chunk_size: int = DEFAULT_CHUNK,
    max_chunks: int | None = None,
    parse_special: bool = False,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Imatrix:
    """Run a text through a model and sum up the squares of what each matrix is multiplied with.

    The text is cut into pieces; each begins with what the model's family puts before every text.

    Parameters
    ----------
    model : path
        A GGUF file, best of a high type (f16, q8_0): its activations are what counts.
    text : path
        UTF-8 text of the kind that the model will see; some ten thousand tokens are enough.
    chunk_size : int
        Tokens of a piece, the prefix included.
    max_chunks : int, optional
        Stop after so many pieces.
    parse_special : bool
        Take the names of special tokens in the text for these tokens.
    num_threads : int, optional
        By default one for each performance core.
    progress : callable, optional
        Called after each piece with the number of its tokens, and the perplexity so far.

    Raises
    ------
    ConversionError
        The text or the model can't be read, or the text is too short.
    """
    from .. import _core

    try:
        content = read_text(text)
        pipeline = _core.Pipeline(
            Path(model),
            device="auto",
            gpu_layers=None,
            num_threads=num_threads,
            kv_dtype="f16",
            kv_cache_bytes=None,
            max_length=None,
            adapters=[],
            speculative="off",
            draft_model=None,
            record_inputs=True,
        )
        ids = tokenize(pipeline.tokenizer, content, parse_special=parse_special)
        prefix = leading_ids(pipeline.tokenizer)
        pieces = _pieces(len(ids), chunk_size, len(prefix), pipeline.max_length)[:max_chunks]
        total, count = 0.0, 0
        for piece in pieces:
            tokens = prefix + ids[piece.begin : piece.end]
            nlls = _core.token_nlls(pipeline, tokens, max(1, len(prefix)))
            total, count = total + float(nlls.sum()), count + nlls.size
            if progress is not None:
                progress(piece.end - piece.begin, float(np.exp(total / count)))
    except ChatGLMError as error:
        raise ConversionError(str(error)) from error
    if not pieces:
        raise ConversionError(f"{text}: too short: found {len(ids)} tokens")
    return Imatrix(
        entries={
            name: Importance(sums.astype(np.float32), rows)
            for name, rows, sums in _core.recorded_inputs(pipeline)
        },
        datasets=(Path(text).name,),
        chunk_count=len(pieces),
        chunk_size=chunk_size,
    )


def _pieces(num_tokens: int, chunk_size: int, prefix: int, max_length: int) -> list[Window]:
    if not prefix + 2 <= chunk_size <= max_length:
        raise InvalidArgumentError(
            f"a chunk has {prefix + 2} to {max_length} tokens, found {chunk_size}"
        )
    room = chunk_size - prefix
    # The last piece may be a single token, from which nothing is predicted.
    return [
        piece for piece in sliding_windows(num_tokens, room, room) if piece.end - piece.begin > 1
    ]
