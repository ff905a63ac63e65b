"""Makes the files of this folder; see README.md. Run: python make_goldens.py"""

from __future__ import annotations

import random
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2

FOLDER = Path(__file__).resolve().parent
SEED = 20
USER_DEFINED = ["<sep>", "<sep><sep>", "abab", "人工智能"]

SENTENCES = """
你好，很高兴见到你。你好吗？我很好，谢谢你。
今天天气怎么样？今天天气很好，我们去公园散步吧。
北京是中国的首都，上海是中国最大的城市之一。
请帮我写一个程序，计算从一到一百的和。
人工智能正在改变世界，人工智能助手可以回答问题。
我们需要计算数据的平均值、最大值和最小值。
他说：“你为什么不早点告诉我呢？”
The quick brown fox jumps over the lazy dog.
The weather is nice today, and the answer is in the table below.
What is the name of the function? The name of the function is get_weather.
There are three things to do: read the file, count the words, print the result.
She sells sea shells by the sea shore; the shells she sells are surely sea shells.
def add(a, b):
    return a + b
for i in range(10):
    print(i, add(i, i))
if x > 0 and y < 10:
    return x * y
{"name": "get_weather", "arguments": {"city": "北京", "days": 3}}
tool_call(location='北京', unit='celsius')
1, 2, 3, 10, 100, 1000, 3.14, 2.71, 0.5
aaaa bbbb abab abcabc aaaaaaaa ababab aabbaabb
    indented    with    many    spaces
Über größere Straßen fährt man schneller. Ça va bien, merci. El niño come piña.
""".strip("\n").split("\n")

EXTRA_TEXTS = [
    "",
    " ",
    "   ",
    "\n",
    " \n ",
    "\u2581",
    "a\u2581b",
    "\x00",
    "a\x00b\x7f",
    "🚀👩‍💻",
    "\ufffd",
    "\U0010ffff",
    "<|user|>",
    "[gMASK]sop<|user|>\n 你好<|assistant|>",
    "</s><s><unk><0x41>",
    "<sep><sep><sep>x<sep> <sep>",
    "ababab aabab 人工智能人工智",
    "xxx" * 40,
    "a" * 200,
    "ab" * 100,
    " " * 101,
    "𝒳𝒴𝒵 ﬁ Å ｱ",
]


def train(name: str, **options: object) -> model_pb2.ModelProto:
    prefix = FOLDER / name
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(SENTENCES * 3),
        model_prefix=str(prefix),
        model_type="bpe",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    prefix.with_suffix(".vocab").unlink()  # sentencepiece's own list; ours has another form
    model = model_pb2.ModelProto()
    model.ParseFromString(prefix.with_suffix(".model").read_bytes())
    return model


def texts(rng: random.Random) -> list[str]:
    alphabet = sorted(set("".join(SENTENCES)))
    made = []
    for _ in range(120):
        pieces = []
        for _ in range(rng.randint(1, 8)):
            sentence = rng.choice(SENTENCES)
            begin = rng.randrange(len(sentence) + 1)
            pieces.append(sentence[begin : begin + rng.randint(0, 12)])
            pieces.append("".join(rng.choices(alphabet, k=rng.randint(0, 4))))
            if rng.random() < 0.3:
                pieces.append(
                    chr(rng.choice([rng.randint(1, 0xD7FF), rng.randint(0xE000, 0x10FFFF)]))
                )
        made.append("".join(pieces))
    return SENTENCES + EXTRA_TEXTS + made


def write(name: str, model: model_pb2.ModelProto) -> None:
    path = FOLDER / name
    path.with_suffix(".model").write_bytes(model.SerializeToString())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path.with_suffix(".model")))
    with path.with_suffix(".vocab").open("w") as out:
        for piece in model.pieces:
            out.write(f"{piece.type} {piece.score} {piece.piece.encode().hex() or '-'}\n")
    with path.with_suffix(".texts").open("w") as out:
        for text in texts(random.Random(SEED)):
            ids = processor.encode(text)
            decoded = processor.decode([i for i in ids if i != processor.unk_id()])
            numbers = " ".join(map(str, ids))
            out.write(f"{text.encode().hex()}|{numbers}|{decoded.encode().hex()}\n")


def main() -> None:
    fallback = train("fallback", vocab_size=640, byte_fallback=True, hard_vocab_limit=False)
    write("fallback", fallback)
    unknown = train(
        "unknown",
        vocab_size=360,
        character_coverage=0.98,
        byte_fallback=False,
        add_dummy_prefix=False,
        user_defined_symbols=USER_DEFINED,
    )
    rng = random.Random(SEED)
    piece_type = model_pb2.ModelProto.SentencePiece.Type
    for piece in unknown.pieces:
        if piece.type == piece_type.NORMAL and len(piece.piece) > 1 and rng.random() < 0.2:
            piece.type = piece_type.UNUSED
    write("unknown", unknown)


if __name__ == "__main__":
    main()
