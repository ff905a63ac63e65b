"""What every topic shares: messages, a tiny pattern language, and pools of random entities."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

TOOL_PROMPT = (
    "Answer the following questions as best as you can. You have access to the following tools:"
)
INTERPRETER_PROMPT = (
    "你是一位智能AI助手，你叫ChatGLM，你连接着一台电脑，但请注意不能联网。在使用Python解决任务时，"
    "你可以运行代码并得到结果，如果运行结果有错误，你需要尽可能对代码进行改进。"
    "你可以处理用户上传到电脑上的文件，文件默认存储路径是/mnt/data/。"
)


@dataclass(frozen=True)
class Message:
    """One turn; ``metadata`` is the tool name of a call, otherwise empty."""

    role: str
    content: str
    metadata: str = ""


Exchange = list[Message]
Topic = Callable[[Random], Exchange]

_GROUP = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"(\{\w+\})")


def expand(rng: Random, pattern: str, **values: object) -> str:
    """Draw one text: ``[a|b|]`` picks one alternative (nesting allowed), ``{x}`` is filled in.

    >>> expand(Random(0), "[hi|hi] {name}", name="Ann")
    'hi Ann'
    """
    while match := _GROUP.search(pattern):
        choice = rng.choice(match.group(1).split("|"))
        pattern = pattern[: match.start()] + choice + pattern[match.end() :]
    for key, value in values.items():
        pattern = pattern.replace("{" + key + "}", str(value))
    return pattern


def has_chinese(text: str) -> bool:
    """Whether any character is a CJK ideograph."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def sloppy(rng: Random, text: str) -> str:
    """Type like a person: the final punctuation comes and goes."""
    if text and text[-1] in "。？！?!." and rng.random() < 0.4:
        return text[:-1]
    if text.endswith("？") and rng.random() < 0.15:
        return text[:-1] + "?"
    if text.endswith("?") and not has_chinese(text) and rng.random() < 0.05:
        return text + "?"
    return text


def user_text(rng: Random, pattern: str, **values: object) -> str:
    """A user's words: English capitals come and go too, except in what must be copied."""
    text = expand(rng, pattern)
    if not has_chinese(text) and rng.random() < 0.4:
        if rng.random() < 0.6:
            pieces = _SLOT.split(text)
            text = "".join(p if _SLOT.fullmatch(p) else p.lower() for p in pieces)
        else:
            text = text[:1].lower() + text[1:]
    for key, value in values.items():
        text = text.replace("{" + key + "}", str(value))
    return sloppy(rng, text)


def ask(rng: Random, question: str, answer: str, **values: object) -> Exchange:
    """A question pattern and the pattern of its answer, filled from the same values."""
    return [
        Message("user", user_text(rng, question, **values)),
        Message("assistant", expand(rng, answer, **values)),
    ]


def weighted(rng: Random, topics: Sequence[tuple[float, Topic]]) -> Exchange:
    """Run one topic, chosen by its weight."""
    weights = [weight for weight, _ in topics]
    return rng.choices([topic for _, topic in topics], weights)[0](rng)


SURNAMES = (
    "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦许何吕张孔曹严金魏陶姜谢邹苏潘范彭郎鲁韦马方任袁柳史唐"
)
GIVEN = (
    "明红丽强伟芳娜军洋勇艳杰涛超秀兰霞平刚桂英华玉建国文斌辉鹏飞晨曦雨欣怡佳琪子轩浩然梓涵诗思宇"
    "婷雪梅琳静敏海山林森鑫磊阳光月星云峰天龙凤春夏秋冬竹菊莲荷松柏青蓝紫白乐安康宁瑞祥福禄喜"
    "博雅清新志远大中小东西南北一二三四五六七八九十心意如美丝语言书画琴棋"
)
# The 3,755 common characters of GB 2312: most have no piece of their own and are spelt in bytes.
COMMON_HAN = [
    bytes((high, low)).decode("gb2312")
    for high in range(0xB0, 0xD8)
    for low in range(0xA1, 0xFF if high < 0xD7 else 0xFA)
]
ENGLISH_NAMES = (
    "Alice Bob Carol David Emma Frank Grace Henry Ivy Jack Kate Leo Mary Nick Olivia Peter Quinn "
    "Rose Sam Tina Victor Wendy Tom Lucy Anna Ben Clara Daniel Eva Fred Gina Hugo Iris John Karen "
    "Linda Mike Nora Oscar Paul Rita Steve Tracy Uma Vera Will Zoe Adam Bella Chris Diana Eric "
    "Fiona George Helen Ian Jane Kevin Lily Mark Nancy Owen Pam Ray Sara Tony"
).split()
CITIES_ZH = (
    "北京 上海 广州 深圳 杭州 南京 成都 重庆 武汉 西安 天津 苏州 长沙 郑州 青岛 沈阳 大连 厦门 "
    "昆明 "
    "哈尔滨 济南 福州 合肥 南昌 贵阳 兰州 太原 石家庄 海口 三亚 拉萨 银川 西宁 乌鲁木齐 呼和浩特 "
    "南宁 "
    "长春 宁波 无锡 东莞 佛山 珠海 桂林 丽江 洛阳 扬州 香港 澳门 台北 东京 巴黎 伦敦 纽约 柏林 "
    "罗马 "
    "首尔 曼谷 悉尼 莫斯科 新加坡"
).split()
CITIES_EN = (
    "Beijing Shanghai Paris London Berlin Rome Madrid Tokyo Seoul Boston Chicago Sydney Oslo "
    "Vienna "
    "Prague Lisbon Dublin Athens Cairo Delhi Moscow Toronto Seattle Denver Munich Milan Kyoto "
    "Osaka "
    "Lima Havana Helsinki Warsaw Budapest Zurich Geneva Amsterdam Brussels Copenhagen Stockholm "
    "Bangkok Hanoi Singapore Jakarta Manila Dallas Austin Houston Miami Naples Venice Florence"
).split()
_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kl pl sh sk sl sp st th tr".split()
_VOWELS = "a e i o u ai ea ee oo ou".split()
_CODAS = ["", "", "", "n", "r", "l", "s", "t", "m", "k", "nd", "rt", "x"]


def made_up_word(rng: Random, syllables: int | None = None) -> str:
    """A pronounceable word that most likely exists nowhere, so it can only be copied."""
    count = syllables or rng.choice((1, 2, 2, 3))
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(count)
    )


def name_character(rng: Random) -> str:
    """Mostly a character that names are made of, sometimes any common one."""
    return rng.choice(GIVEN if rng.random() < 0.88 else COMMON_HAN)


def chinese_name(rng: Random) -> str:
    """A full name, or a familiar form such as 小明."""
    kind = rng.random()
    if kind < 0.25:
        return "小" + name_character(rng)
    if kind < 0.32:
        return rng.choice(("阿", "老", "大")) + name_character(rng)
    surname = rng.choice(SURNAMES if rng.random() < 0.93 else COMMON_HAN)
    return surname + "".join(name_character(rng) for _ in range(rng.choice((1, 2, 2))))


def english_name(rng: Random) -> str:
    """A common first name, or a made-up one."""
    if rng.random() < 0.6:
        return rng.choice(ENGLISH_NAMES)
    return made_up_word(rng).capitalize()


def any_name(rng: Random) -> str:
    return chinese_name(rng) if rng.random() < 0.7 else english_name(rng)


def chinese_city(rng: Random) -> str:
    """Mostly a real city; sometimes two random characters, so that it must be copied."""
    if rng.random() < 0.75:
        return rng.choice(CITIES_ZH)
    ending = rng.choice(("", "", "市", "城", "镇", "县"))
    return name_character(rng) + name_character(rng) + ending


def english_city(rng: Random) -> str:
    return rng.choice(CITIES_EN) if rng.random() < 0.7 else made_up_word(rng).capitalize()


def number(rng: Random, digits: int) -> int:
    """An integer of at most ``digits`` digits, all lengths equally likely."""
    return rng.randrange(10 ** rng.randint(1, digits))
