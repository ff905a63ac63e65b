"""The reader of SentencePiece models against the package, and against damaged files."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatglm_cpp.convert import ConversionError, UnsupportedCheckpointError
from chatglm_cpp.convert.protobuf import WireFormatError, iter_fields
from chatglm_cpp.convert.tokenizer import PieceType, read_sentencepiece
from tiny_checkpoint import field_bytes, sentencepiece_model, sentencepiece_pieces


def check_against_the_package(path: Path) -> None:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    model = read_sentencepiece(path)
    assert len(model.pieces) == processor.get_piece_size()
    assert model.unk_id == processor.unk_id()
    assert model.bos_id == processor.bos_id()
    assert model.eos_id == processor.eos_id()
    for index, piece in enumerate(model.pieces):
        assert piece.text == processor.id_to_piece(index)
        assert piece.score == processor.get_score(index)
        assert (piece.type is PieceType.BYTE) == processor.is_byte(index)
        assert (piece.type is PieceType.CONTROL) == processor.is_control(index)
        assert (piece.type is PieceType.UNKNOWN) == processor.is_unknown(index)
        assert (piece.type is PieceType.UNUSED) == processor.is_unused(index)


def test_a_model_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(sentencepiece_model())
    check_against_the_package(path)


@pytest.mark.parametrize("name", ["chatglm3", "chatglm2", "codegeex2"])
@pytest.mark.parametrize("kind", ["real", "tiny"])
def test_golden_models(goldens: Path, name: str, kind: str) -> None:
    folder = goldens / "tokenizers" / name if kind == "real" else goldens / name
    check_against_the_package(folder / "tokenizer.model")
    model = read_sentencepiece(folder / "tokenizer.model")
    assert model.add_dummy_prefix is (name != "codegeex2")
    assert len(model.pieces) == (64789 if kind == "real" else 960)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"algorithm": 1}, "expected a SentencePiece BPE model, found unigram"),
        ({"collapse_spaces": True}, "keeps text as it is"),
        ({"byte_fallback": False}, "byte fallback"),
    ],
)
def test_other_models(tmp_path: Path, options: dict[str, int], sentence: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(sentencepiece_model(**options))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedCheckpointError, match=sentence):
        read_sentencepiece(path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda pieces: [], "it has no pieces"),
        (lambda pieces: [*pieces, pieces[-1]], "stands twice"),
        (lambda pieces: pieces[1:], "expected one unknown piece, found 0"),
        (lambda pieces: pieces[:100] + pieces[102:], "2 of the 256 byte pieces are missing"),
        (lambda pieces: [*pieces, ("x", math.nan, 1)], "score nan"),
        (lambda pieces: [*pieces, ("", 0.0, 1)], "the text ''"),
        (lambda pieces: [*pieces, ("x", 0.0, 9)], "9 is not a valid PieceType"),
    ],
)
def test_vocabularies_that_can_not_be(tmp_path: Path, change: object, sentence: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(sentencepiece_model(change(sentencepiece_pieces())))  # type: ignore[operator]
    with pytest.raises(ConversionError, match=sentence):
        read_sentencepiece(path)


def test_missing_and_lfs_pointer(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"tokenizer\.model is missing"):
        read_sentencepiece(tmp_path / "tokenizer.model")
    path = tmp_path / "tokenizer.model"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    with pytest.raises(ConversionError, match="git lfs pull"):
        read_sentencepiece(path)


def test_a_model_cut_anywhere(tmp_path: Path) -> None:
    data, path = sentencepiece_model(), tmp_path / "tokenizer.model"
    for size in range(0, len(data), 37):
        path.write_bytes(data[:size])
        with pytest.raises(ConversionError):
            read_sentencepiece(path)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_model_with_changed_bytes(data: st.DataObject) -> None:
    path = Path(os.environ["PYTEST_TOKENIZER_TMP"]) / "tokenizer.model"
    content = bytearray(sentencepiece_model())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(ConversionError):
        read_sentencepiece(path)


@pytest.fixture(autouse=True, scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder for the property test, which can't use function fixtures."""
    os.environ["PYTEST_TOKENIZER_TMP"] = str(tmp_path_factory.mktemp("scratch"))


# The wire format.


def test_fields_of_every_wire_type() -> None:
    message = field_bytes(1, b"abc") + field_bytes(2, 300) + field_bytes(3, 1.5)
    message += bytes([4 << 3 | 1]) + bytes(8)
    expected = [(1, b"abc"), (2, 300), (3, b"\x00\x00\xc0?"), (4, bytes(8))]
    assert list(iter_fields(message)) == expected


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (b"\x80", "the bytes end inside a number"),
        (b"\x08\xff", "the bytes end inside a number"),
        (b"\x80" * 11, "more than 10 bytes"),
        (b"\x0a\x05ab", "needs 5 bytes at byte 2, but only 2 are left"),
        (b"\x0d\x00\x00", "needs 4 bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x00", "field number 0"),
    ],
)
def test_messages_that_are_none(message: bytes, sentence: str) -> None:
    with pytest.raises(WireFormatError, match=sentence):
        list(iter_fields(message))
