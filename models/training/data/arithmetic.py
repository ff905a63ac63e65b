"""Sums, differences and small products; a fixed tenth of the sums is kept for evaluation."""

from __future__ import annotations

from random import Random

from .common import Exchange, Message, ask, expand, number, sloppy

CHINESE_DIGITS = "零一二三四五六七八九十"


def is_held_out(first: int, second: int) -> bool:
    """Whether ``first + second`` is never shown in training (one pair in ten, two digits each)."""
    return first >= 10 and second >= 10 and (first * 31 + second * 17) % 10 == 3


def addition_pair(rng: Random) -> tuple[int, int]:
    """Two numbers below 100 that may be shown."""
    while True:
        first, second = number(rng, 2), number(rng, 2)
        if rng.random() < 0.5:
            first, second = rng.randrange(100), rng.randrange(100)
        if not is_held_out(first, second):
            return first, second


def problem(rng: Random) -> tuple[str, str]:
    """One expression with its solution, such as ``("3 + 4", "3 + 4 = 7")``."""
    kind = rng.random()
    if kind < 0.62:
        first, second = addition_pair(rng)
        sign, result = "+", first + second
    elif kind < 0.85:
        first = rng.randrange(100)
        second = rng.randrange(first + 1)
        sign, result = "-", first - second
    else:
        first, second = rng.randrange(1, 10), rng.randrange(1, 10)
        sign, result = "×", first * second
    return f"{first} {sign} {second}", f"{first} {sign} {second} = {result}"


def written(rng: Random, expression: str, chinese: bool) -> str:
    """The expression as people type it: without spaces, with words, with ``*`` for ``×``."""
    first, sign, second = expression.split()
    words = (
        {"+": "加", "-": "减", "×": "乘"} if chinese else {"+": "plus", "-": "minus", "×": "times"}
    )
    kind = rng.random()
    if kind < 0.25 and chinese:
        if int(first) <= 10 and int(second) <= 10 and rng.random() < 0.5:
            return CHINESE_DIGITS[int(first)] + words[sign] + CHINESE_DIGITS[int(second)]
        return first + words[sign] + second
    if kind < 0.25:
        return f"{first} {words[sign]} {second}"
    if sign == "×" and rng.random() < 0.6:
        sign = rng.choice("*x")
    return f"{first}{sign}{second}" if kind < 0.65 else f"{first} {sign} {second}"


def single(rng: Random) -> Exchange:
    """One problem, asked in Chinese or English."""
    expression, solution = problem(rng)
    if rng.random() < 0.6:
        return ask(
            rng,
            "[{e}等于[多少|几]|{e}是多少|{e}=|{e} = |{e}=?|{e}|计算{e}|计算 {e}|请计算{e}|"
            "请问{e}等于多少|"
            "帮我算一下{e}|算一下{e}|{e}得多少|{e}的结果是多少|请问 {e} 等于多少|那{e}呢][？|]",
            "{s}。",
            e=written(rng, expression, True),
            s=solution,
        )
    return ask(
        rng,
        "[What is {e}|What's {e}|How much is {e}|Calculate {e}|Please compute {e}|{e} equals what|"
        "Can you add up {e}|Solve {e}|And {e}|Tell me {e}|Compute {e}][?|.|]",
        "{s}.",
        e=written(rng, expression, False),
        s=solution,
    )


def several(rng: Random) -> Exchange:
    """A short exercise sheet: one problem a line."""
    problems = [problem(rng) for _ in range(rng.randint(2, 6))]
    separator = rng.choice(("\n", "，", ", ", "；"))
    chinese = rng.random() < 0.6
    question = expand(
        rng, "[计算|请计算|算一算|做这些题]：" if chinese else "[Compute|Calculate|Solve]: "
    )
    expressions = separator.join(written(rng, expression, chinese) for expression, _ in problems)
    return [
        Message("user", sloppy(rng, question + expressions)),
        Message("assistant", "\n".join(solution for _, solution in problems)),
    ]


def story(rng: Random) -> Exchange:
    """A sum wrapped in a sentence."""
    first, second = rng.randrange(1, 30), rng.randrange(1, 30)
    thing = rng.choice("苹果 橘子 糖果 铅笔 书 球 鸡蛋 花".split())
    thing_en = rng.choice("apples oranges pens books balls eggs coins cards".split())
    plus = rng.random() < 0.5 or second > first
    result = (
        f"{first} {'+' if plus else '-'} {second} = {first + second if plus else first - second}"
    )
    total = result.split()[-1]
    if rng.random() < 0.6:
        change = "[又买了|又得到|妈妈又给我]{b}个" if plus else "[吃了|送给朋友|用掉了]{b}个"
        return ask(
            rng,
            f"我有{{a}}个{thing}，{change}，[现在有几个|一共有多少个|还有多少个|现在有多少]？",
            f"{result}，所以现在有{total}个{thing}。",
            a=first,
            b=second,
        )
    change = "[get|buy|find] {b} more" if plus else "[give away|lose|use] {b}"
    return ask(
        rng,
        f"I have {{a}} {thing_en} and {change}. How many {thing_en} do I have[ now|]?",
        f"{result}, so you have {total} {thing_en} now.",
        a=first,
        b=second,
    )


def comparison(rng: Random) -> Exchange:
    """Which of two numbers is larger."""
    first, second = rng.sample(range(100), 2)
    if rng.random() < 0.6:
        return ask(
            rng,
            "{a}和{b}哪个[大|更大|数大|比较大]？",
            f"{max(first, second)}更大，因为{max(first, second)} > {min(first, second)}。",
            a=first,
            b=second,
        )
    return ask(
        rng,
        "Which is [larger|bigger|greater], {a} or {b}?",
        f"{max(first, second)} is larger, because {max(first, second)} > {min(first, second)}.",
        a=first,
        b=second,
    )


def chain(rng: Random) -> Exchange:
    """Go on calculating with the last result."""
    first, second = addition_pair(rng)
    exchange = ask(
        rng,
        "[{a}+{b}等于多少？|What is {a} + {b}?]",
        "{a} + {b} = {c}。",
        a=first,
        b=second,
        c=first + second,
    )
    total = first + second
    for _ in range(rng.randint(1, 2)):
        step = rng.randrange(1, 20)
        if rng.random() < 0.6 or step > total:
            pattern, sign, result = "[再加{x}呢？|再加上{x}|plus {x}|add {x}]", "+", total + step
        else:
            pattern, sign, result = (
                "[再减{x}呢？|减去{x}|minus {x}|subtract {x}]",
                "-",
                total - step,
            )
        exchange += ask(rng, pattern, f"{total} {sign} {{x}} = {result}。", x=step)
        total = result
    return exchange
