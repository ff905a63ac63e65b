"""Builds a bare tokenizer from a SentencePiece .model file, without a model file around it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece

from chatglm_cpp import _core

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

PREFIX_NAMES = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"]
ROLE_NAMES = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]

SHARED_GOLDENS = Path(__file__).resolve().parents[3] / "shared" / "goldens"
OWN_GOLDENS = Path(__file__).resolve().parents[1] / "goldens" / "tokenizer"


@dataclass
class Model:
    """A SentencePiece model as the reference implementation and as ours."""

    reference: Any
    tokenizer: Any
    special: dict[str, int]


def piece_type(reference: Any, token_id: int, user_defined: set[str]) -> int:
    """SentencePiece's number for the kind of a piece."""
    if reference.is_unknown(token_id):
        return UNKNOWN
    if reference.is_control(token_id):
        return CONTROL
    if reference.is_unused(token_id):
        return UNUSED
    if reference.is_byte(token_id):
        return BYTE
    return USER_DEFINED if reference.id_to_piece(token_id) in user_defined else NORMAL


def load_model(
    path: Path,
    *,
    special: list[str] | None = None,
    padded_size: int = 0,
    user_defined: set[str] | None = None,
) -> Model:
    """Read a .model file; append special tokens and padding as a converted file has them."""
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    size = reference.vocab_size()
    pieces = [reference.id_to_piece(i) for i in range(size)]
    scores = [reference.get_score(i) for i in range(size)]
    types = [piece_type(reference, i, user_defined or set()) for i in range(size)]
    names = PREFIX_NAMES + ROLE_NAMES if special is None else special
    pieces += names
    while len(pieces) < padded_size:
        pieces.append(f"[PAD{len(pieces)}]")
    scores += [0.0] * (len(pieces) - size)
    types += [CONTROL] * len(names) + [UNUSED] * (len(pieces) - size - len(names))
    # Whether the model puts a space before a text is not in the Python API; a text shows it.
    dummy_prefix = reference.encode("x", out_type=str)[0].startswith("\u2581")
    tokenizer = _core.Tokenizer(
        pieces, scores, types, add_space_prefix=dummy_prefix, eos_ids=[reference.eos_id()]
    )
    return Model(reference, tokenizer, {name: size + i for i, name in enumerate(names)})
