"""Things said in the conversation that a later turn needs: names, numbers, lists, questions.

Copying from the context is the hardest skill of a tiny model, so the copied things are mostly
random and come in many forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .common import (
    Exchange,
    Message,
    any_name,
    ask,
    chinese_city,
    chinese_name,
    english_city,
    english_name,
    expand,
    has_chinese,
    made_up_word,
    sloppy,
)

FOODS_ZH = (
    "饺子 面条 米饭 火锅 西瓜 苹果 草莓 蛋糕 冰淇淋 豆腐 番茄 葡萄 巧克力 包子 烤鸭 鱼 牛肉 土豆"
).split()
FOODS_EN = "pizza noodles rice soup apples cake cheese fish chocolate salad bread dumplings".split()
COLOURS_ZH = "红色 蓝色 绿色 黄色 紫色 白色 黑色 橙色 粉色 灰色 棕色".split()
COLOURS_EN = "red blue green yellow purple white black orange pink grey brown".split()
JOBS_ZH = "老师 医生 工程师 程序员 学生 厨师 司机 画家 作家 护士 农民 警察 歌手 律师 科学家".split()
JOBS_EN = "teacher doctor engineer student cook driver painter writer nurse farmer singer".split()
SPORTS_ZH = "足球 篮球 游泳 跑步 乒乓球 羽毛球 下棋 滑雪 爬山 画画 唱歌 跳舞 读书 钓鱼".split()
PETS_ZH = "猫 狗 兔子 鸟 乌龟 仓鼠 金鱼 马".split()
PETS_EN = "cat dog rabbit bird turtle hamster goldfish horse".split()


@dataclass(frozen=True)
class Memory:
    """Something the user says, and the question that asks for it later (maybe much later)."""

    statement: Exchange
    question: Exchange


def _memory(
    rng: Random, statement: str, reply: str, question: str, answer: str, **values: object
) -> Memory:
    return Memory(ask(rng, statement, reply, **values), ask(rng, question, answer, **values))


def _name_zh(rng: Random) -> Memory:
    return _memory(
        rng,
        "[你好，||嗨，|大家好，][我叫{x}|我的名字是{x}|我是{x}|我的名字叫{x}|叫我{x}吧|"
        "你可以叫我{x}|请叫我{x}|"
        "我叫{x}，很高兴认识你|记住，我叫{x}][。|！|]",
        "你好，{x}！很高兴认识你。",
        "[请问|那|你还记得|你知道|][我叫什么名字|我叫什么|我的名字是什么|我是谁|我叫啥|"
        "我的名字][吗|][？|]",
        "你叫{x}。",
        x=any_name(rng),
    )


def _name_en(rng: Random) -> Memory:
    return _memory(
        rng,
        "[Hi, |Hello, ||Hello! ][my name is {x}|I am {x}|I'm {x}|call me {x}|you can call me {x}|"
        "please call me {x}|people call me {x}|this is {x}][.|!||, nice to meet you]",
        "Hello, {x}! Nice to meet you.",
        "[What is my name|What's my name|Who am I|Do you remember my name|Do you know my name|"
        "Tell me my name|What am I called|Can you tell me my name|What was my name again|"
        "Say my name][?|]",
        "Your name is {x}.",
        x=english_name(rng) if rng.random() < 0.85 else chinese_name(rng),
    )


def _city_zh(rng: Random) -> Memory:
    return _memory(
        rng,
        "[我住在{x}|我家在{x}|我来自{x}|我是{x}人|我在{x}生活|我在{x}工作][。|！|]",
        "{x}是个好地方！",
        "[请问|你还记得|你知道|那|][我住在哪里|我住在哪|我来自哪里|我在哪个城市|我家在哪|"
        "我住哪儿|我是哪里人][吗|][？|]",
        "你说过，你在{x}。",
        x=chinese_city(rng),
    )


def _city_en(rng: Random) -> Memory:
    return _memory(
        rng,
        "[I live in {x}|I am from {x}|I'm from {x}|My home is in {x}|I come from {x}|"
        "I work in {x}][.|!|]",
        "{x} is a nice place!",
        "[Where do I live|Where am I from|Which city do I live in|Do you remember where I live|"
        "Where is my home|In which city am I|Where do I come from][?|]",
        "You told me that you are in {x}.",
        x=english_city(rng),
    )


def _likes_zh(rng: Random) -> Memory:
    kind, pool, verb = rng.choice(
        (("食物", FOODS_ZH, "吃"), ("颜色", COLOURS_ZH, ""), ("运动", SPORTS_ZH, ""))
    )
    return _memory(
        rng,
        f"[我最喜欢{verb}{{x}}|我最喜欢的{kind}是{{x}}|我很喜欢{{x}}|我喜欢{{x}}][。|！|]",
        "我记住了，你喜欢{x}。",
        f"[请问|你还记得|你知道|那|][我最喜欢的{kind}是什么|我喜欢什么{kind}|我最喜欢什么{kind}|"
        f"我喜欢的{kind}是什么]"
        "[吗|][？|]",
        "你喜欢{x}。",
        x=rng.choice(pool),
    )


def _likes_en(rng: Random) -> Memory:
    kind, pool = rng.choice((("food", FOODS_EN), ("colour", COLOURS_EN)))
    return _memory(
        rng,
        f"[My favourite {kind} is {{x}}|My favorite {kind} is {{x}}|I like {{x}} best|"
        "I really like {x}|I love {x}][.|!|]",
        "I see, you like {x}.",
        f"[What is my favourite {kind}|What's my favorite {kind}|Which {kind} do I like|"
        f"Do you remember my favourite {kind}|What {kind} do I like best][?|]",
        "You like {x}.",
        x=rng.choice(pool),
    )


def _pet(rng: Random) -> Memory:
    if rng.random() < 0.6:
        return _memory(
            rng,
            "[我有一只{p}，名字叫{x}|我的{p}叫{x}|我养了一只{p}，它叫{x}|我家的{p}叫{x}][。|！|]",
            "{x}，真是个好名字！",
            "[请问|你还记得|你知道|那|][我的{p}叫什么|我的{p}叫什么名字|我家{p}的名字是什么|"
            "我的{p}的名字][吗|][？|]",
            "你的{p}叫{x}。",
            p=rng.choice(PETS_ZH),
            x=any_name(rng),
        )
    return _memory(
        rng,
        "[I have a {p} called {x}|My {p} is called {x}|The name of my {p} is {x}|"
        "I have a {p}, its name is {x}][.|!|]",
        "{x} is a lovely name!",
        "[What is the name of my {p}|What's my {p}'s name|What is my {p} called|"
        "Do you remember the name of my {p}][?|]",
        "Your {p} is called {x}.",
        p=rng.choice(PETS_EN),
        x=english_name(rng),
    )


def _job_or_age(rng: Random) -> Memory:
    kind = rng.random()
    if kind < 0.3:
        return _memory(
            rng,
            "[我是一名{x}|我的工作是{x}|我是个{x}|我的职业是{x}][。|]",
            "{x}是很棒的职业！",
            "[请问|你还记得|你知道|][我的职业是什么|我是做什么的|我做什么工作|我的工作是什么][吗|"
            "][？|]",
            "你是{x}。",
            x=rng.choice(JOBS_ZH),
        )
    if kind < 0.5:
        return _memory(
            rng,
            "[I am a {x}|I work as a {x}|My job is {x}][.|]",
            "That is a great job!",
            "[What is my job|What do I do|What do I do for a living|What is my profession][?|]",
            "You are a {x}.",
            x=rng.choice([job for job in JOBS_EN if job[0] not in "aeiou"]),
        )
    if kind < 0.8:
        return _memory(
            rng,
            "[我今年{x}岁|我{x}岁了|我的年龄是{x}岁|我{x}岁][。|]",
            "好的，我记住了，你{x}岁。",
            "[请问|你还记得|你知道|][我几岁|我多大了|我今年几岁|我的年龄是多少|我今年多大][吗|"
            "][？|]",
            "你{x}岁。",
            x=rng.randrange(5, 100),
        )
    return _memory(
        rng,
        "[I am {x} years old|I'm {x} years old|My age is {x}|I am {x}][.|]",
        "I see, you are {x} years old.",
        "[How old am I|What is my age|Do you remember how old I am|Tell me my age][?|]",
        "You are {x} years old.",
        x=rng.randrange(5, 100),
    )


def _secret(rng: Random) -> Memory:
    """A number or word to remember: nothing but copying helps."""
    kind = rng.random()
    if kind < 0.5:
        value = str(rng.randrange(10 ** rng.randint(1, 7)))
    elif kind < 0.75:
        value = made_up_word(rng)
    else:
        value = any_name(rng)
    thing = rng.choice("密码 暗号 电话号码 房间号 幸运数字 车牌号 编号 口令 订单号 学号".split())
    if rng.random() < 0.6:
        return _memory(
            rng,
            "[请记住|记住|帮我记一下|你要记住|][，|：|]我的{t}是{x}[。|！|]",
            "好的，我记住了，你的{t}是{x}。",
            "[请问|你还记得|告诉我|那|][我的{t}是什么|我的{t}是多少|我的{t}][吗|][？|]",
            "你的{t}是{x}。",
            t=thing,
            x=value,
        )
    return _memory(
        rng,
        "[Please remember: |Remember that |Remember: |]my {t} is {x}[.|!|]",
        "OK, I will remember: your {t} is {x}.",
        "[What is my {t}|What's my {t}|Tell me my {t}|Do you remember my {t}|What was my {t}][?|]",
        "Your {t} is {x}.",
        t=rng.choice(
            ("password", "code word", "phone number", "room number", "lucky number", "order id")
        ),
        x=value,
    )


def _friend(rng: Random) -> Memory:
    relation = rng.choice(
        "朋友 老师 妹妹 弟弟 哥哥 姐姐 同学 邻居 同事 爸爸 妈妈 儿子 女儿".split()
    )
    if rng.random() < 0.6:
        return _memory(
            rng,
            "[我的{r}叫{x}|我{r}的名字是{x}|我有个{r}叫{x}|我{r}叫{x}][。|！|]",
            "好的，我记住了，你的{r}叫{x}。",
            "[请问|你还记得|你知道|][我的{r}叫什么|我{r}叫什么名字|我{r}的名字是什么|"
            "我的{r}是谁][吗|][？|]",
            "你的{r}叫{x}。",
            r=relation,
            x=any_name(rng),
        )
    return _memory(
        rng,
        "[My {r} is called {x}|My {r}'s name is {x}|I have a {r} called {x}][.|!|]",
        "I see, your {r} is called {x}.",
        "[What is my {r}'s name|What is the name of my {r}|What is my {r} called|Who is my {r}]"
        "[?|]",
        "Your {r} is called {x}.",
        r=rng.choice(("friend", "teacher", "sister", "brother", "neighbour", "boss", "son")),
        x=english_name(rng),
    )


def _word_list(rng: Random) -> Memory:
    """A few words, then one of them asked by its place."""
    chinese = rng.random() < 0.6
    count = rng.randint(2, 5)
    pool = FOODS_ZH + COLOURS_ZH + PETS_ZH if chinese else FOODS_EN + COLOURS_EN + PETS_EN
    words = rng.sample(pool, count)
    place = rng.randrange(count)
    if chinese:
        return _memory(
            rng,
            f"[请记住|记住|请记住这几个词|记住这些词][：|，]{'、'.join(words)}[。|]",
            f"好的，我记住了：{'、'.join(words)}。",
            f"[请问|你还记得|][第{'一二三四五'[place]}个词是什么|"
            f"我说的第{'一二三四五'[place]}个词是什么][？|]",
            f"第{'一二三四五'[place]}个词是{words[place]}。",
        )
    ordinal = ("first", "second", "third", "fourth", "fifth")[place]
    return _memory(
        rng,
        f"[Remember these words|Please remember|Remember]: {', '.join(words)}[.|]",
        f"OK, I will remember: {', '.join(words)}.",
        f"[What is the {ordinal} word|What was the {ordinal} word|Tell me the {ordinal} word][?|]",
        f"The {ordinal} word is {words[place]}.",
    )


MEMORIES: list[tuple[float, Callable[[Random], Memory]]] = [
    (4, _name_zh),
    (3, _name_en),
    (1.5, _city_zh),
    (1.2, _city_en),
    (1.2, _likes_zh),
    (1, _likes_en),
    (1.5, _pet),
    (1.5, _job_or_age),
    (2, _secret),
    (1.5, _friend),
    (1.2, _word_list),
]


def memories(rng: Random, count: int) -> list[Memory]:
    """Some memories of different kinds, so that no later one contradicts an earlier one."""
    chosen: list[Callable[[Random], Memory]] = []
    families: set[str] = set()
    while len(chosen) < count:
        maker = rng.choices([m for _, m in MEMORIES], [w for w, _ in MEMORIES])[0]
        family = maker.__name__.removesuffix("_zh").removesuffix("_en")
        if family not in families:
            families.add(family)
            chosen.append(maker)
    return [maker(rng) for maker in chosen]


def memory_pair(rng: Random) -> Exchange:
    """A statement, directly followed by its question."""
    memory = memories(rng, 1)[0]
    return memory.statement + memory.question


def echo(rng: Random) -> Exchange:
    """Repeat after me."""
    kind = rng.random()
    if kind < 0.3:
        text = " ".join(made_up_word(rng) for _ in range(rng.randint(1, 4)))
    elif kind < 0.6:
        text = (
            rng.choice((chinese_name, chinese_city))(rng)
            + rng.choice(("喜欢", "住在", "认识", "想去", "看见了", ""))
            + rng.choice((chinese_name, chinese_city))(rng)
        )
    elif kind < 0.8:
        text = str(rng.randrange(10 ** rng.randint(2, 9)))
    else:
        text = f"{english_name(rng)} {rng.choice(('likes', 'knows', 'sees'))} {english_name(rng)}"
    if rng.random() < 0.6:
        question = "[请|][重复一遍|跟我说|重复|复述|跟我念|照着说一遍|说][：|: |“]"
    else:
        question = '[Repeat after me|Say|Please repeat|Repeat|Please say][: |: "]'
    prompt = expand(rng, question)
    closing = {"“": "”", '"': '"'}.get(prompt[-1], "")
    return [Message("user", prompt + text + closing), Message("assistant", text)]


def reading(rng: Random) -> Exchange:
    """Two to four statements of one kind about different people, then a question about one."""
    count = rng.randint(2, 4)
    if rng.random() < 0.6:
        statement, question, answer, pool = rng.choice(
            (
                ("{n}住在{v}。", "{n}住在哪里？", "{n}住在{v}。", chinese_city),
                ("{n}喜欢{v}。", "{n}喜欢什么？", "{n}喜欢{v}。", lambda r: r.choice(FOODS_ZH)),
                ("{n}今年{v}岁。", "{n}今年几岁？", "{n}今年{v}岁。", lambda r: r.randrange(5, 99)),
                ("{n}是{v}。", "{n}的职业是什么？", "{n}是{v}。", lambda r: r.choice(JOBS_ZH)),
                ("{n}买了{v}。", "{n}买了什么？", "{n}买了{v}。", lambda r: r.choice(FOODS_ZH)),
            )
        )
        name, joiner = chinese_name, ""
    else:
        statement, question, answer, pool = rng.choice(
            (
                ("{n} lives in {v}.", "Where does {n} live?", "{n} lives in {v}.", english_city),
                (
                    "{n} likes {v}.",
                    "What does {n} like?",
                    "{n} likes {v}.",
                    lambda r: r.choice(FOODS_EN),
                ),
                (
                    "{n} is {v} years old.",
                    "How old is {n}?",
                    "{n} is {v} years old.",
                    lambda r: r.randrange(5, 99),
                ),
                (
                    "{n} has a {v} coat.",
                    "What colour is the coat of {n}?",
                    "{n} has a {v} coat.",
                    lambda r: r.choice([c for c in COLOURS_EN if c != "orange"]),
                ),
            )
        )
        name, joiner = english_name, " "
    people: dict[str, object] = {}
    while len(people) < count:
        people[name(rng)] = pool(rng)
    text = joiner.join(expand(rng, statement, n=n, v=v) for n, v in people.items())
    exchange: Exchange = []
    for index, person in enumerate(rng.sample(list(people), rng.randint(1, count))):
        asked = expand(rng, question, n=person)
        prompt = text + joiner + asked if index == 0 else sloppy(rng, asked)
        exchange.append(Message("user", prompt))
        exchange.append(Message("assistant", expand(rng, answer, n=person, v=people[person])))
    return exchange


def about_earlier_question(rng: Random, history: Exchange) -> Exchange:
    """What did I ask first, or just now: the answer quotes the history."""
    asked = [message.content for message in history if message.role == "user"]
    first = rng.random() < 0.4
    chinese = rng.random() < 0.6
    quoted = asked[0] if first else asked[-1]
    if chinese:
        which = (
            "我[的|]第一[个问题是什么|句话是什么|句话说了什么]"
            if first
            else ("我[刚才|刚刚|上一句][问了什么|说了什么|说的是什么|问的是什么]")
        )
        return ask(
            rng, which + "[？|]", ("你的第一句话是" if first else "你刚才说的是") + f"“{quoted}”。"
        )
    which = (
        "What was my first [question|message]"
        if first
        else ("What did I [just ask|just say|ask just now]")
    )
    return ask(
        rng,
        which + "[?|]",
        ("Your first message was" if first else "You just said") + f' "{quoted}".',
    )


def can_be_quoted(history: Exchange) -> bool:
    """Whether the user's messages are short enough to be quoted, and free of pattern signs."""
    texts = [message.content for message in history if message.role == "user"]
    return bool(texts) and all(
        len(text) <= (30 if has_chinese(text) else 60) and not set(text) & set('[]{}|“"')
        for text in (texts[0], texts[-1])
    )


def untold(rng: Random) -> Exchange:
    """A question about something the user has never said."""
    memory = memories(rng, 1)[0]
    question = memory.question[0]
    chinese = has_chinese(question.content)
    reply = "你还没有告诉我呢。" if chinese else "You have not told me yet."
    return [question, Message("assistant", reply)]
