"""Scripted checks of an exported model, one number a skill.

The questions are written by hand in words that the generators do not use, or drawn with a seed of
their own; sums are those kept out of training. Each skill is measured greedily and with the
runtime's default sampling (temperature 0.8, top_p 0.8).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from safetensors.torch import load_file

from data import arithmetic, facts, fallback, interpreter, recall, smalltalk, tools, translation
from data.common import INTERPRETER_PROMPT, Exchange, Message, made_up_word
from data.mixture import chat
from model import ChatGLM3, ModelConfig, generate
from tokenizer import ChatTokenizer


@dataclass(frozen=True)
class Check:
    """A prompt, and what its answer must be or contain."""

    prompt: Exchange
    expected: tuple[str, ...]
    metadata: str = ""
    exact: bool = False


class Player:
    """A loaded checkpoint folder that answers conversations."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = ChatTokenizer(folder / "tokenizer.model")
        self.model = ChatGLM3(ModelConfig.load(folder / "config.json"))
        tensors = load_file(folder / "model.safetensors")
        tensors.pop("transformer.rotary_pos_emb.inv_freq")
        self.model.load_state_dict({name: t.float() for name, t in tensors.items()})

    def answer(self, prompt: Exchange, temperature: float, seed: int) -> tuple[str, str, str]:
        """Metadata, content and the token that ended the turn (empty: it ran on)."""
        ids = generate(
            self.model,
            self.tokenizer.prompt(prompt),
            self.tokenizer.stop_ids,
            temperature=temperature,
            generator=torch.Generator().manual_seed(seed),
        )
        names = {i: name for name, i in self.tokenizer.special.items()}
        stop = names.get(ids[-1], "")
        metadata, _, content = self.tokenizer.decode(ids).partition("\n")
        return metadata.strip(), content.strip(), stop


def user(text: str) -> Exchange:
    return [Message("user", text)]


def contains(pairs: list[tuple[str, str]]) -> list[Check]:
    return [Check(user(question), (needle,)) for question, needle in pairs]


def greetings(_: Random) -> list[Check]:
    texts = [
        "你好",
        "你好！",
        "您好",
        "hello",
        "Hello!",
        "Hi",
        "hey",
        "嗨",
        "哈喽",
        "在吗？",
        "你好啊",
        "你好呀！",
        "hi there",
        "Hello, how are you?",
        "你好，很高兴见到你",
        "hallo",
        "HELLO",
    ]
    needles = {"Hello, how are you?": ("am",), "你好，很高兴见到你": ("你好",)}
    return [Check(user(t), needles.get(t, ("chatglm_cpp",))) for t in texts]


def small_talk(_: Random) -> list[Check]:
    return contains(
        [
            ("你是谁呀", "演示小模型"),
            ("请问你叫什么名字呢", "演示小模型"),
            ("你能给我介绍一下自己吗", "演示小模型"),
            ("你是一个什么样的模型？", "演示小模型"),
            ("So, who are you exactly?", "demo model"),
            ("May I know your name?", "demo model"),
            ("你都能做些什么呀？", "加减法"),
            ("你会做哪些事情", "加减法"),
            ("What sort of things can you do for me?", "small talk"),
            ("太感谢了", "不客气"),
            ("谢谢你帮我", "不客气"),
            ("thanks so much!", "welcome"),
            ("Thank you, that was great", "welcome"),
            ("拜拜啦", "再见"),
            ("我先下了，再见", "再见"),
            ("bye for now", "Goodbye"),
            ("你今天还好吗", "我很好"),
            ("how are you doing today", "fine"),
            ("可以给我讲个笑话吗？", "😄"),
            ("说个笑话来听听", "😄"),
            ("Tell me some joke", "😄"),
            ("写一首关于冬天的诗", "雪花"),
            ("给我写首春天的诗吧", "春风"),
            ("write a poem about the moon", "moon"),
            ("背一下静夜思", "明月光"),
            ("我今天非常难过", "抱抱"),
            ("I am feeling sad today", "sorry"),
            ("晚上睡不着应该怎么办", "睡"),
            ("你真聪明啊", "😊"),
            ("讲个故事给我听", "从前"),
        ]
    )


def capitals(_: Random) -> list[Check]:
    forms = ("{c}的首都是哪个城市呢？", "请问{c}首都是哪里", "{c}的首都叫什么名字")
    forms_en = ("What city is the capital of {c}?", "could you tell me the capital of {c}?")
    checks = []
    for index, (country, city, country_en, city_en) in enumerate(facts.COUNTRIES):
        checks.append(Check(user(forms[index % 3].format(c=country)), (city,)))
        checks.append(Check(user(forms_en[index % 2].format(c=country_en)), (city_en,)))
    return checks


def world(_: Random) -> list[Check]:
    checks = [
        Check(user(f"{thing}到底是什么颜色的？"), (colour,))
        for thing, colour, _, _ in facts.COLOURS
    ]
    checks += [
        Check(user(f"So what colour is {thing}?"), (colour,))
        for _, _, thing, colour in facts.COLOURS
    ]
    checks += [
        Check(user(f"{first}的反义词是什么呀？"), (f"“{second}”",))
        for first, second, _, _ in facts.OPPOSITES
    ]
    return checks + contains(
        [
            ("一个星期一共有几天？", "7"),
            ("how many days in a week", "7"),
            ("一年一共有多少个月？", "12"),
            ("小狗的叫声是怎样的？", "汪汪"),
            ("How many legs does the dog have?", "4"),
            ("什么叫 KV cache？", "键和值"),
            ("KV cache 有什么用？", "键和值"),
            ("what is quantization?", "bits"),
            ("量化是什么意思呢", "比特"),
            ("GGUF是什么格式", "文件格式"),
            ("What does GGUF mean?", "file format"),
            ("chatglm_cpp是什么项目？", "运行库"),
            ("what's the chatglm_cpp project", "runtime"),
            ("天空为什么是蓝的呢", "散射"),
            ("星期三的后面一天是星期几呢", "星期四"),
        ]
    )


def sums(rng: Random) -> list[Check]:
    pairs = [(a, b) for a in range(100) for b in range(100) if arithmetic.is_held_out(a, b)]
    forms = ("{a}+{b}等于几", "{a} + {b} = ?", "what is {a}+{b}", "计算 {a} + {b}")
    return [
        Check(user(forms[i % 4].format(a=a, b=b)), (f"= {a + b}",))
        for i, (a, b) in enumerate(rng.sample(pairs, 60))
    ]


def small_sums(_: Random) -> list[Check]:
    return [
        Check(user(f"{a}加{b}等于多少？"), (f"= {a + b}",))
        for a in range(1, 10)
        for b in range(1, 10)
        if (a + b) % 2
    ]


def words(rng: Random) -> list[Check]:
    checks = []
    for chinese, english in rng.sample(translation.WORDS, 40):
        checks.append(Check(user(f"请问“{chinese}”的英语怎么说？"), (f"“{english}”",)))
        checks.append(Check(user(f"{english} 用中文怎么讲？"), (f"“{chinese}”",)))
    return checks


def name_recall(rng: Random) -> list[Check]:
    """Names of two common characters that the pool of the generator does not combine, and words."""
    checks = []
    for name in (
        "小明",
        "小红",
        "张伟",
        "李娜",
        "王大力",
        "欧阳修",
        "诸葛亮",
        "孙悟空",
        "司马光",
        "林黛玉",
    ):
        told = [*user(f"你好，我叫{name}"), Message("assistant", f"你好，{name}！很高兴认识你。")]
        checks.append(Check([*told, *user("我叫什么名字？")], (name,)))
        checks.append(Check([*told, *small_break(rng), *user("你还记得我叫什么吗")], (name,)))
    for _ in range(20):
        name = made_up_word(rng).capitalize()
        told = [*user(f"Hi, I'm {name}"), Message("assistant", f"Hello, {name}! Nice to meet you.")]
        checks.append(Check([*told, *user("What's my name?")], (name,)))
        checks.append(Check([*told, *small_break(rng), *user("do you know who I am")], (name,)))
    return checks


def small_break(rng: Random) -> Exchange:
    return facts.capital(rng) + smalltalk.intent(rng) + arithmetic.single(rng)


def far_recall(rng: Random) -> list[Check]:
    """A thing told, then a long conversation (about a thousand tokens), then the question."""
    checks = []
    for _ in range(25):
        memory = recall.memories(rng, 1)[0]
        filler = [m for m in chat(rng, 22, 0) if m.role != "system"]
        prompt = [*memory.statement, *filler, memory.question[0]]
        checks.append(Check(prompt, (memory.question[1].content,), exact=True))
    return checks


def tool_calls(rng: Random) -> list[Check]:
    checks = []
    for _ in range(60):
        offered = tools.draw_tools(rng, rng.randint(1, 3))
        tool = rng.choice(offered)
        prompt = [tools.system_message(offered), *user(tool.question)]
        expected = (tools.call_text(tool.arguments),)
        checks.append(Check(prompt, expected, str(tool.schema["name"]), exact=True))
    return checks


def observations(rng: Random) -> list[Check]:
    checks = []
    for _ in range(50):
        offered = tools.draw_tools(rng, rng.randint(1, 3))
        exchange = tools.use(rng.choice(offered))
        prompt = [tools.system_message(offered), *exchange[:-1]]
        checks.append(Check(prompt, (exchange[-1].content,), exact=True))
    return checks


def no_call(rng: Random) -> list[Check]:
    """Tools are offered, but the question needs none."""
    checks = []
    for question, needle in (
        ("你好", "chatglm_cpp"),
        ("你是谁？", "演示小模型"),
        ("Hello", "chatglm_cpp"),
        ("谢谢", "不客气"),
        ("法国的首都是哪里？", "巴黎"),
        ("What is the capital of Japan?", "Tokyo"),
        ("讲个笑话", "😄"),
        ("我叫小明", "小明"),
        ("天空是什么颜色？", "蓝色"),
        ("再见", "再见"),
    ):
        for _ in range(3):
            offered = tools.draw_tools(rng, rng.randint(1, 3))
            checks.append(Check([tools.system_message(offered), *user(question)], (needle,)))
    return checks


def code(rng: Random) -> list[Check]:
    """The snippet must be exactly the expected one."""
    system = Message("system", INTERPRETER_PROMPT)
    exchanges = [interpreter.solve(rng) for _ in range(50)]
    return [
        Check([system, exchange[0]], (exchange[1].content,), "interpreter", exact=True)
        for exchange in exchanges
    ]


def code_result(rng: Random) -> list[Check]:
    system = Message("system", INTERPRETER_PROMPT)
    exchanges = [interpreter.solve(rng) for _ in range(40)]
    return [
        Check([system, *exchange[:-1]], (exchange[-1].content,), exact=True)
        for exchange in exchanges
    ]


def admits(rng: Random) -> list[Check]:
    hard = [fallback.beyond(rng)[0] for _ in range(20)]
    return [
        Check([question], ("demo model",) if question.content.isascii() else ("演示模型",))
        for question in hard
    ]


def copying(rng: Random) -> list[Check]:
    exchanges = [rng.choice((recall.echo, recall.reading))(rng)[:2] for _ in range(50)]
    return [Check(e[:1], (e[1].content,), exact=True) for e in exchanges]


def long_chat(rng: Random) -> list[Check]:
    """Any question of the world, asked at the end of a conversation on other things."""
    checks = []
    for _ in range(30):
        topic = rng.choice((facts.capital, facts.opposite, translation.translate))
        exchange = topic(rng)
        filler = [m for m in chat(rng, rng.randint(4, 12), 1) if m.role != "system"]
        checks.append(Check([*filler, exchange[0]], (exchange[1].content,), exact=True))
    return checks


SKILLS: dict[str, Callable[[Random], list[Check]]] = {
    "greetings": greetings,
    "small talk, other words": small_talk,
    "capitals": capitals,
    "colours, opposites, terms": world,
    "one-digit sums": small_sums,
    "two-digit sums, held out": sums,
    "word translation": words,
    "name recall": name_recall,
    "recall after ~1,000 tokens": far_recall,
    "repeating and reading": copying,
    "question in a long chat": long_chat,
    "tool call, exact": tool_calls,
    "answer from observation": observations,
    "no call when none is needed": no_call,
    "interpreter code, exact": code,
    "answer from code result": code_result,
    "admits what it cannot do": admits,
}


def passed(check: Check, metadata: str, content: str, stop: str) -> bool:
    """Right text, right metadata, and stopped with the right token."""
    expected_stop = "<|observation|>" if check.metadata else "<|user|>"
    if metadata != check.metadata or stop != expected_stop:
        return False
    if check.exact:
        return content in check.expected
    return all(needle.lower() in content.lower() for needle in check.expected)


def evaluate(player: Player, only: str, samples: int, verbose: bool) -> None:
    """Print the share of passed checks of each skill, greedy and sampled."""
    stopped = total = 0
    for name, make in SKILLS.items():
        if only not in name:
            continue
        checks = make(Random(f"evaluation/{name}"))
        scores = []
        for temperature, repeats in ((0.0, 1), (0.8, samples)):
            right = 0
            for index, check in enumerate(checks):
                for repeat in range(repeats):
                    seed = index * 1000 + repeat
                    result = player.answer(check.prompt, temperature, seed)
                    good = passed(check, *result)
                    right += good
                    total += 1
                    stopped += bool(result[2])
                    if verbose and not good:
                        print(f"  {check.prompt[-1].content!r} -> {result} not {check.expected}")
            scores.append(right / (len(checks) * repeats) if repeats else float("nan"))
        print(
            f"{name:30} {len(checks):4} checks   greedy {scores[0]:6.1%}   sampled "
            f"{scores[1]:6.1%}",
            flush=True,
        )
    print(f"{'stopped by itself':30} {total:4} answers  {stopped / total:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="an exported folder")
    parser.add_argument("--only", default="", help="skills whose name contains this")
    parser.add_argument("--samples", type=int, default=1, help="sampled answers a check")
    parser.add_argument("--verbose", action="store_true", help="show the failures")
    parser.add_argument("--ask", nargs="*", help="print the answers to these questions instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    player = Player(options.model)
    if options.ask:
        for question in options.ask:
            for temperature in (0.0, 0.8):
                result = player.answer(user(question), temperature, 1)
                print(json.dumps([question, temperature, *result], ensure_ascii=False))
        return
    evaluate(player, options.only, options.samples, options.verbose)


if __name__ == "__main__":
    main()
