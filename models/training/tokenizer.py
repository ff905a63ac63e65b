"""The tokenizer: SentencePiece BPE with ChatGLM3's settings, and ChatGLM3's prompt format.

Run ``python tokenizer.py --out tokenizer.model --text-root ROOT`` to train it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import sentencepiece as spm

from data import plain_text
from data.common import Exchange, Message
from data.mixture import MIXES, conversation

SPECIAL_TOKENS = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "sop",
    "eop",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)
BREAK = "\u241f"
# Greetings repeat thousands of times; more copies than this teach the tokenizer nothing.
MAX_COPIES = 8
TEXT_PARAGRAPHS = 1200
# A character that fewer messages than this contain needs no piece of its own.
MIN_MESSAGES = 8
_HAN = re.compile("[\u4e00-\u9fff]")


class ChatTokenizer:
    """Text to ids. Special tokens are ids only: they are never recognised in text."""

    def __init__(self, path: Path) -> None:
        self.pieces = spm.SentencePieceProcessor(model_file=str(path))
        base = self.pieces.vocab_size()
        self.special = {name: base + index for index, name in enumerate(SPECIAL_TOKENS)}
        self.prefix = [self.special["[gMASK]"], self.special["sop"]]
        self.eos = self.pieces.eos_id()
        self.stop_ids = {
            self.eos,
            self.special["<|user|>"],
            self.special["<|observation|>"],
        }

    @property
    def vocab_size(self) -> int:
        return self.pieces.vocab_size() + len(SPECIAL_TOKENS)

    @property
    def padded_vocab_size(self) -> int:
        return -(-self.vocab_size // 64) * 64

    def role(self, name: str) -> int:
        return self.special[f"<|{name}|>"]

    def encode(self, text: str) -> list[int]:
        return self.pieces.encode(text)

    def body(self, message: Message) -> list[int]:
        """What follows the role token; header and content are encoded separately."""
        return self.encode(message.metadata + "\n") + self.encode(message.content)

    def prompt(self, messages: Exchange) -> list[int]:
        """The ids from which the model writes the next assistant turn."""
        ids = list(self.prefix)
        for message in messages:
            ids += [self.role(message.role), *self.body(message)]
        return [*ids, self.role("assistant")]

    def decode(self, ids: list[int]) -> str:
        """The text of plain ids; special ids end or separate turns and are left out."""
        return self.pieces.decode([i for i in ids if i < self.pieces.vocab_size()])


def with_breaks(rng: Random, line: str) -> str:
    """Mark random places in Chinese where no piece may cross.

    Generated sentences repeat whole phrases; as single pieces they would keep the model from
    seeing the words inside, and with them any paraphrase.
    """
    return _HAN.sub(lambda m: m.group() + (BREAK if rng.random() < 0.35 else ""), line)


def training_lines(text_root: Path, conversations: int, seed: int) -> Iterator[str]:
    """Lines for the tokenizer; no newline inside, so that "\\n" stays the byte piece 13."""
    rng = Random(seed)
    for _ in range(conversations):
        for message in conversation(rng, MIXES["full"]) or []:
            # Tool listings repeat the same JSON: a few of them are enough.
            if message.role != "system" or rng.random() < 0.3:
                yield from filter(str.strip, message.content.splitlines())
    yield from rng.sample(plain_text.load_handbook(text_root), TEXT_PARAGRAPHS)


def required_characters(conversations: int, seed: int) -> str:
    """What the generated world uses again and again gets a piece; rare names are spelt in bytes."""
    rng = Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(conversations):
        for message in conversation(rng, MIXES["full"]) or []:
            seen.update(set(message.content))
    often = {character for character, count in seen.items() if count >= MIN_MESSAGES}
    return "".join(sorted(often - {"\n", " "}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text-root", type=Path, default=Path("/"))
    parser.add_argument("--vocab-size", type=int, default=4000)
    parser.add_argument("--conversations", type=int, default=12000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    drawn = Counter(training_lines(options.text_root, options.conversations, options.seed))
    lines = [line for line, count in drawn.items() for _ in range(min(count, MAX_COPIES))]
    rng = Random(options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    spm.SentencePieceTrainer.train(
        sentence_iterator=(with_breaks(rng, line) for line in lines),
        pretokenization_delimiter=BREAK,
        model_prefix=str(options.out.with_suffix("")),
        model_type="bpe",
        vocab_size=options.vocab_size,
        character_coverage=0.9985,
        required_chars=required_characters(options.conversations, options.seed),
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        max_sentence_length=20000,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=2,
        minloglevel=1,
    )
    options.out.with_suffix(".vocab").unlink()
    tokenizer = ChatTokenizer(options.out)
    characters = sum(len(line) for line in lines)
    tokens = sum(len(tokenizer.encode(line)) for line in lines)
    print(json.dumps({"lines": len(lines), "characters_per_token": characters / tokens}))


if __name__ == "__main__":
    main()
