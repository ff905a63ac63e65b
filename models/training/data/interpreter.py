"""Code-interpreter mode: a short Python snippet, then an answer from its printed result.

Each task knows its question, its code and how to compute what the code would print.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .common import Exchange, Message, made_up_word, user_text


@dataclass(frozen=True)
class Task:
    """One request; the patterns are filled with the drawn values, ``output`` is what is printed."""

    chinese: str
    english: str
    code: str
    output: str
    values: dict[str, object] | None = None


def _numbers(rng: Random) -> list[int]:
    return [rng.randrange(100) for _ in range(rng.randint(3, 7))]


def _product(rng: Random) -> Task:
    a, b = rng.randrange(10, 1000), rng.randrange(10, 1000)
    sign, word = rng.choice((("*", "乘以"), ("+", "加"), ("-", "减")))
    result = {"*": a * b, "+": a + b, "-": a - b}[sign]
    return Task(
        "[计算|算一下|请计算|用代码计算|用Python计算]{a}[ {s} |{s}|{w}]{b}[。||等于多少？]",
        "[Compute|Calculate|What is|Use Python to compute] {a} {s} {b}[.||?]",
        "print({a} {s} {b})",
        str(result),
        values={"a": a, "b": b, "s": sign, "w": word},
    )


def _power(rng: Random) -> Task:
    a, b = rng.randrange(2, 13), rng.randrange(2, 9)
    return Task(
        "[计算|算一下|求|请计算]{a}的{b}次方[。||是多少？]",
        "[Compute|Calculate|What is] {a} to the power of {b}[.||?]",
        "print({a} ** {b})",
        str(a**b),
        values={"a": a, "b": b},
    )


def _factorial(rng: Random) -> Task:
    n = rng.randrange(3, 16)
    return Task(
        "[计算|算一下|求|请计算]{n}的阶乘[。||是多少？]",
        "[Compute|Calculate|What is] the factorial of {n}[.||?]",
        "import math\nprint(math.factorial({n}))",
        str(math.factorial(n)),
        values={"n": n},
    )


def _range_sum(rng: Random) -> Task:
    n = rng.randrange(10, 2000)
    return Task(
        "[计算|算一下|求|请计算]1[到|加到]{n}的和[。||是多少？]",
        "[Compute|Calculate|What is] the sum of the numbers from 1 to {n}[.||?]",
        "print(sum(range(1, {n} + 1)))",
        str(n * (n + 1) // 2),
        values={"n": n},
    )


def _root(rng: Random) -> Task:
    n = rng.randrange(2, 1000)
    return Task(
        "[计算|算一下|求|请计算]{n}的平方根[。||是多少？]",
        "[Compute|Calculate|What is] the square root of {n}[.||?]",
        "import math\nprint(round(math.sqrt({n}), 4))",
        str(round(math.sqrt(n), 4)),
        values={"n": n},
    )


def _sorting(rng: Random) -> Task:
    numbers = _numbers(rng)
    descending = rng.random() < 0.4
    return Task(
        "[把|请把|帮我把]{v}" + ("从大到小" if descending else "[从小到大|]") + "排序[。|]",
        ("Sort {v} in descending order[.|]" if descending else "[Sort|Please sort] {v}[.|]"),
        "numbers = [{v}]\nprint(sorted(numbers, reverse=True))"
        if descending
        else "numbers = [{v}]\nprint(sorted(numbers))",
        str(sorted(numbers, reverse=descending)),
        values={"v": ", ".join(map(str, numbers))},
    )


def _statistic(rng: Random) -> Task:
    numbers = _numbers(rng)
    chinese, english, call, result = rng.choice(
        (
            ("最大值", "maximum", "max(numbers)", max(numbers)),
            ("最小值", "minimum", "min(numbers)", min(numbers)),
            ("和", "sum", "sum(numbers)", sum(numbers)),
            (
                "平均值",
                "mean",
                "round(sum(numbers) / len(numbers), 2)",
                round(sum(numbers) / len(numbers), 2),
            ),
        )
    )
    return Task(
        f"[求|计算|算一下|请计算]{{v}}的{chinese}[。|]",
        f"[Compute|Find|What is] the {english} of {{v}}[.|]",
        f"numbers = [{{v}}]\nprint({call})",
        str(result),
        values={"v": ", ".join(map(str, numbers))},
    )


def _primes(rng: Random) -> Task:
    n = rng.randrange(10, 60)
    primes = [p for p in range(2, n) if all(p % d for d in range(2, p))]
    return Task(
        "[列出|找出|求][小于{n}的所有质数|{n}以内的质数|{n}以内的素数][。|]",
        "[List|Find|Print] [the|all] primes below {n}[.|]",
        "primes = [p for p in range(2, {n}) if all(p % d for d in range(2, p))]\nprint(primes)",
        str(primes),
        values={"n": n},
    )


def _is_prime(rng: Random) -> Task:
    n = rng.randrange(2, 1000)
    return Task(
        "{n}是[不是质数|质数吗|素数吗|不是素数][？|]",
        "Is {n} [prime|a prime|a prime number][?|]",
        "n = {n}\nprint(n > 1 and all(n % d for d in range(2, n)))",
        str(all(n % d for d in range(2, n))),
        values={"n": n},
    )


def _fibonacci(rng: Random) -> Task:
    n = rng.randrange(5, 20)
    sequence = [0, 1]
    while len(sequence) < n:
        sequence.append(sequence[-1] + sequence[-2])
    return Task(
        "[打印|写出|输出|求|计算]前{n}个斐波那契数[。|]",
        "[Print|List|Compute] the first {n} Fibonacci numbers[.|]",
        "a, b = 0, 1\nfor _ in range({n}):\n    print(a, end=' ')\n    a, b = b, a + b",
        " ".join(map(str, sequence[:n])),
        values={"n": n},
    )


def _reverse(rng: Random) -> Task:
    word = made_up_word(rng)
    return Task(
        "[把|请把|将|帮我把]{w}[反过来|倒过来|反转][。|]",
        "[Reverse the word {w}|Reverse {w}|Write {w} backwards][.|]",
        "print('{w}'[::-1])",
        word[::-1],
        values={"w": word},
    )


def _length(rng: Random) -> Task:
    word = made_up_word(rng, rng.randint(1, 4))
    return Task(
        "{w}有[几|多少]个字母[？|]",
        "[How many letters are in {w}|How long is the word {w}][?|]",
        "print(len('{w}'))",
        str(len(word)),
        values={"w": word},
    )


def _file(rng: Random) -> Task:
    name = made_up_word(rng) + rng.choice((".txt", ".csv", ".log"))
    lines = rng.randrange(2, 5000)
    return Task(
        "[文件|]{f}[有多少行|里有几行|一共有多少行][？|]",
        "How many lines [are in|are there in|has] {f}[?|]",
        "with open('/mnt/data/{f}') as file:\n    print(len(file.readlines()))",
        str(lines),
        values={"f": name},
    )


def _leap_year(rng: Random) -> Task:
    year = rng.randrange(1800, 2100)
    return Task(
        "{y}年是[闰年吗|不是闰年][？|]",
        "[Is {y} a leap year|Was {y} a leap year][?|]",
        "import calendar\nprint(calendar.isleap({y}))",
        str(year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)),
        values={"y": year},
    )


TASKS: list[tuple[float, Callable[[Random], Task]]] = [
    (3, _product),
    (1, _power),
    (1, _factorial),
    (1, _range_sum),
    (1, _root),
    (1.5, _sorting),
    (1.5, _statistic),
    (1, _primes),
    (1, _is_prime),
    (1, _fibonacci),
    (1, _reverse),
    (1, _length),
    (1, _file),
    (0.7, _leap_year),
]


def solve(rng: Random) -> Exchange:
    """Question, code, printed result, answer."""
    maker = rng.choices([m for _, m in TASKS], [w for w, _ in TASKS])[0]
    task = maker(rng)
    chinese = rng.random() < 0.65
    values = task.values or {}
    pattern = task.chinese if chinese else task.english
    code = task.code
    for key, value in values.items():
        code = code.replace("{" + key + "}", str(value))
    answer = f"运行结果是：{task.output}" if chinese else f"The result is: {task.output}"
    return [
        Message("user", user_text(rng, pattern, **values)),
        Message("assistant", f"```python\n{code}\n```", "interpreter"),
        Message("observation", task.output),
        Message("assistant", answer),
    ]
