"""Tool calls in the ChatGLM3 format.

The system message lists the tools as JSON; names of tools and parameters are drawn at random, so
the model has to copy them from there, and the arguments from the user's words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from .common import (
    TOOL_PROMPT,
    Exchange,
    Message,
    any_name,
    ask,
    chinese_city,
    english_city,
    english_name,
    has_chinese,
    made_up_word,
    user_text,
)

Argument = str | int


@dataclass(frozen=True)
class Tool:
    """A tool as offered (``schema``), and one use of it."""

    schema: dict[str, object]
    question: str
    arguments: dict[str, Argument]
    observation: str
    answer: str
    family: str


def call_text(arguments: dict[str, Argument]) -> str:
    """The content of a calling turn, as the official parser expects it."""
    rendered = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"```python\ntool_call({rendered})\n```"


def system_message(tools: list[Tool]) -> Message:
    """The official system message that offers some tools."""
    listing = json.dumps([tool.schema for tool in tools], indent=4, ensure_ascii=False)
    return Message("system", f"{TOOL_PROMPT}\n{listing}")


def make_schema(
    rng: Random, name: str, description: str, parameters: dict[str, tuple[str, str]]
) -> dict[str, object]:
    """Describe a tool; ``parameters`` maps names to (type, description)."""
    if rng.random() < 0.2:
        params = [
            {"name": key, "description": about, "type": kind, "required": True}
            for key, (kind, about) in parameters.items()
        ]
        return {"name": name, "description": description, "params": params}
    properties: dict[str, dict[str, str]] = {}
    for key, (kind, about) in parameters.items():
        style = rng.random()
        properties[key] = {"description": about}
        if style < 0.6:
            properties[key] = {"type": kind, "description": about}
        elif style < 0.7:
            properties[key] = {"type": kind}
    schema: dict[str, object] = {"properties": properties, "required": list(parameters)}
    if rng.random() < 0.8:
        schema = {"type": "object", **schema}
    return {"name": name, "description": description, "parameters": schema}


def _as_observation(rng: Random, values: dict[str, Argument]) -> str:
    """Mostly JSON as a program would print it, now and then the bare value."""
    if len(values) == 1 and rng.random() < 0.3:
        return str(next(iter(values.values())))
    return json.dumps(values, ensure_ascii=False)


def weather(rng: Random, chinese: bool) -> Tool:
    name = rng.choice(("get_weather", "get_current_weather", "query_weather", "weather"))
    key = rng.choice(("location", "city", "city_name", "place"))
    degrees = rng.randrange(-15, 40)
    if chinese:
        city = chinese_city(rng)
        condition = rng.choice("晴 多云 阴 小雨 大雨 小雪 雾 雷阵雨 大风".split())
        question = (
            "[请问|帮我查一下|查询一下|我想知道|查一下|][{x}今天天气怎么样|{x}的天气怎么样|"
            "今天{x}的天气|{x}天气如何|"
            "{x}的天气|{x}今天热吗|{x}现在多少度|{x}冷不冷|{x}今天下雨吗][？|。|]"
        )
        answer = f"{city}现在的天气是{condition}，气温{degrees}度。"
        about = rng.choice(("获取指定城市的当前天气", "查询城市天气", "查询某个城市今天的天气"))
        detail = rng.choice(("城市名，例如：北京", "城市名", "要查询的城市"))
    else:
        city = english_city(rng)
        condition = rng.choice(("sunny", "cloudy", "rainy", "snowy", "windy", "foggy"))
        question = (
            "[What is the weather in {x}|How is the weather in {x}|What's the weather like in {x}|"
            "Is it cold in {x}|Tell me the weather in {x}|Is it raining in {x}|"
            "Please check the weather in {x}|How warm is it in {x}][ today| now|][?|]"
        )
        answer = f"The weather in {city} is {condition}, with {degrees} degrees."
        about = rng.choice(("Get the current weather of a city", "Look up the weather"))
        detail = rng.choice(("The city name", "Name of the city, e.g. Paris"))
    first, second = rng.choice((("temperature", "weather"), ("temp", "condition")))
    return Tool(
        make_schema(rng, name, about, {key: ("string", detail)}),
        user_text(rng, question, x=city),
        {key: city},
        json.dumps({first: degrees, second: condition}, ensure_ascii=False),
        answer,
        "weather",
    )


def stock(rng: Random, chinese: bool) -> Tool:
    name = rng.choice(("track", "get_stock_price", "stock_price", "query_stock"))
    key = rng.choice(("symbol", "code", "ticker", "stock_code"))
    symbol = str(rng.randrange(10000, 1000000))
    if rng.random() < 0.4:
        symbol = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(rng.randint(2, 4)))
    price = rng.randrange(1, 100000)
    if chinese:
        question = (
            "[帮我|请|][查询股票{x}的价格|查一下股票{x}的价格|查询{x}的股价|看看股票{x}现在多少钱|"
            "股票{x}现在的价格是多少|{x}的股价是多少][。|？|]"
        )
        answer = f"根据API调用结果，我得知当前股票的价格为{price}。"
        about, detail = "追踪指定股票的实时价格", "需要追踪的股票代码"
    else:
        question = (
            "[What is the price of stock {x}|How much is the stock {x}|Check the stock {x}|"
            "Tell me the stock price of {x}|What is the stock price of {x}][?|]"
        )
        answer = f"According to the tool, the price of the stock is {price}."
        about, detail = "Track the current price of a stock", "The code of the stock"
    return Tool(
        make_schema(rng, name, about, {key: ("string", detail)}),
        user_text(rng, question, x=symbol),
        {key: symbol},
        _as_observation(rng, {"price": price}),
        answer,
        "stock",
    )


def calculator(rng: Random, chinese: bool) -> Tool:
    name = rng.choice(("calculator", "calculate", "calc", "compute"))
    key = rng.choice(("expression", "expr", "formula", "text"))
    first, second = rng.randrange(100, 10000), rng.randrange(10, 1000)
    sign = rng.choice("+-*")
    result = {"+": first + second, "-": first - second, "*": first * second}[sign]
    expression = f"{first}{sign}{second}" if rng.random() < 0.5 else f"{first} {sign} {second}"
    question = (
        "[请|帮我|用计算器|][计算|算一下|算算] {x}[。|等于多少？|是多少？|]"
        if chinese
        else "[What is {x}|Calculate {x}|Please compute {x}|Use the calculator: {x}|"
        "How much is {x}][?|]"
    )
    return Tool(
        make_schema(
            rng,
            name,
            "计算数学表达式" if chinese else "Evaluate a mathematical expression",
            {key: ("string", "要计算的表达式" if chinese else "The expression to evaluate")},
        ),
        user_text(rng, question, x=expression),
        {key: expression},
        _as_observation(rng, {"result": result}),
        f"计算结果是{result}。" if chinese else f"The result is {result}.",
        "calculator",
    )


def search(rng: Random, chinese: bool) -> Tool:
    name = rng.choice(("search", "web_search", "search_web", "google"))
    key = rng.choice(("query", "keyword", "q", "keywords"))
    found = made_up_word(rng)
    if chinese:
        topic = any_name(rng) + rng.choice(
            ("", "的新闻", "的电影", "的历史", "的书", "的照片", "的歌")
        )
        question = "[请|帮我|][搜索一下|搜索|搜一下|上网搜一下|在网上找一下]{x}[。|]"
        answer = f"我搜索到了：{found}。"
    else:
        topic = english_name(rng) + rng.choice(("", " news", " films", " history", " books"))
        question = (
            "[Please |Can you |][search for {x}|search the web for {x}|look up {x} online][.|?|]"
        )
        answer = f"I found this: {found}."
    return Tool(
        make_schema(
            rng,
            name,
            "在网上搜索信息" if chinese else "Search the web",
            {key: ("string", "搜索关键词" if chinese else "What to search for")},
        ),
        user_text(rng, question, x=topic),
        {key: topic},
        json.dumps({"result": found}, ensure_ascii=False),
        answer,
        "search",
    )


def clock(rng: Random, chinese: bool) -> Tool:
    name = rng.choice(("get_time", "get_current_time", "clock", "query_time"))
    key = rng.choice(("city", "timezone", "location", "place"))
    moment = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
    city = chinese_city(rng) if chinese else english_city(rng)
    question = (
        "[请问|帮我查一下|我想知道|][{x}现在几点了|{x}现在几点|现在{x}是几点|{x}的时间|"
        "{x}当前时间是多少][？|]"
        if chinese
        else "[What time is it in {x}|Tell me the time in {x}|What is the time in {x}][ now|][?|]"
    )
    return Tool(
        make_schema(
            rng,
            name,
            "查询城市的当前时间" if chinese else "Get the current time of a city",
            {key: ("string", "城市名" if chinese else "The city name")},
        ),
        user_text(rng, question, x=city),
        {key: city},
        _as_observation(rng, {"time": moment}),
        f"{city}现在的时间是{moment}。" if chinese else f"The time in {city} is {moment}.",
        "clock",
    )


def translator(rng: Random, chinese: bool) -> Tool:
    name = rng.choice(("translate", "translate_text", "translator"))
    key, to_key = rng.choice((("text", "target"), ("text", "target_language"), ("source", "to")))
    language, language_en = rng.choice(
        (
            ("法语", "French"),
            ("德语", "German"),
            ("日语", "Japanese"),
            ("俄语", "Russian"),
            ("西班牙语", "Spanish"),
            ("韩语", "Korean"),
        )
    )
    text = rng.choice("你好 谢谢 再见 苹果 朋友 学校 月亮 早上好 我爱你 老师 大海".split())
    if not chinese:
        text, language = made_up_word(rng), language_en
    result = made_up_word(rng)
    question = (
        "[请|帮我|]把[“{x}”|{x}]翻译成{l}[。|]"
        if chinese
        else '[Please |Can you |]translate ["{x}"|{x}] into {l}[.|?|]'
    )
    return Tool(
        make_schema(
            rng,
            name,
            "把文字翻译成另一种语言" if chinese else "Translate text into another language",
            {
                key: ("string", "要翻译的文字" if chinese else "The text"),
                to_key: ("string", "目标语言" if chinese else "The target language"),
            },
        ),
        user_text(rng, question, x=text, l=language),
        {key: text, to_key: language},
        _as_observation(rng, {"translation": result}),
        f"“{text}”翻译成{language}是“{result}”。"
        if chinese
        else f'"{text}" in {language} is "{result}".',
        "translate",
    )


def dice(rng: Random, chinese: bool) -> Tool:
    name = rng.choice(("random_number", "random_number_generator", "roll", "random_int"))
    low_key, high_key = rng.choice((("min", "max"), ("low", "high"), ("start", "end")))
    low = rng.randrange(0, 50)
    high = low + rng.randrange(1, 1000)
    result = rng.randint(low, high)
    question = (
        "[请|帮我|]生成一个{a}到{b}之间的随机数[。|]"
        if chinese
        else "[Please |]give me a random number [between {a} and {b}|from {a} to {b}][.|]"
    )
    return Tool(
        make_schema(
            rng,
            name,
            "生成一个随机数" if chinese else "Generate a random number",
            {
                low_key: ("integer", "最小值" if chinese else "The smallest value"),
                high_key: ("integer", "最大值" if chinese else "The largest value"),
            },
        ),
        user_text(rng, question, a=low, b=high),
        {low_key: low, high_key: high},
        _as_observation(rng, {"number": result}),
        f"随机数是{result}。" if chinese else f"The random number is {result}.",
        "dice",
    )


_SUBJECTS = (
    "图书 酒店 餐厅 航班 火车 电影 商品 课程 菜谱 歌曲 快递 房子 公司 医院 景点 汽车 "
    "游戏 学生 宠物 植物"
).split()
_ATTRIBUTES = (
    "价格 评分 地址 电话 作者 库存 状态 年龄 重量 时间 数量 名字 距离 等级 颜色 排名".split()
)
_SUBJECTS_EN = (
    "book hotel restaurant flight train film product course recipe song parcel house company "
    "hospital museum car game student plant robot"
).split()
_ATTRIBUTES_EN = (
    "price rating address phone author stock status age weight size number owner distance level "
    "colour rank"
).split()


def invented(rng: Random, chinese: bool) -> Tool:
    """A tool whose name, parameter and purpose are all random."""
    subject_en, attribute_en = rng.choice(_SUBJECTS_EN), rng.choice(_ATTRIBUTES_EN)
    name = rng.choice(
        (
            f"get_{subject_en}_{attribute_en}",
            f"{rng.choice(('query', 'find', 'check', 'fetch'))}_{attribute_en}",
            f"{made_up_word(rng)}_{rng.choice(('api', 'tool', 'lookup'))}",
            made_up_word(rng),
            f"{made_up_word(rng)}_{made_up_word(rng)}",
        )
    )
    key = rng.choice(("name", "id", f"{subject_en}_name", f"{subject_en}", made_up_word(rng)))
    if rng.random() < 0.35:
        target: Argument = rng.randrange(10 ** rng.randint(2, 5))
    else:
        target = any_name(rng) if chinese else english_name(rng)
    value: Argument = rng.randrange(10 ** rng.randint(1, 4))
    if rng.random() < 0.3:
        value = any_name(rng) if chinese else made_up_word(rng)
    if chinese:
        subject, attribute = rng.choice(_SUBJECTS), rng.choice(_ATTRIBUTES)
        about, detail = f"查询{subject}的{attribute}", f"{subject}的名称或编号"
        question = (
            "[请|帮我|请帮我|我想|][查一下|查询|查询一下|看看]"
            f"{subject}{{x}}的{attribute}[。|是多少？|]"
        )
        answer = f"{subject}{target}的{attribute}是{value}。"
    else:
        about = f"Look up the {attribute_en} of a {subject_en}"
        detail = f"Name or number of the {subject_en}"
        question = (
            f"[What is the {attribute_en} of the {subject_en} {{x}}?|"
            f"Look up the {attribute_en} of {subject_en} {{x}}.|"
            f"Please find the {attribute_en} of the {subject_en} {{x}}|"
            f"Tell me the {attribute_en} of {subject_en} {{x}}]"
        )
        answer = f"The {attribute_en} of the {subject_en} {target} is {value}."
    kind = "integer" if isinstance(target, int) else "string"
    return Tool(
        make_schema(rng, name, about, {key: (kind, detail)}),
        user_text(rng, question, x=target),
        {key: target},
        _as_observation(rng, {rng.choice((attribute_en, "result")): value}),
        answer,
        name,
    )


MAKERS = [
    (3.0, weather),
    (1.5, stock),
    (1.5, calculator),
    (1.2, search),
    (1.2, clock),
    (1.0, translator),
    (0.8, dice),
    (5.0, invented),
]


def draw_tools(rng: Random, count: int) -> list[Tool]:
    """Tools of different families, all described in one language."""
    chinese = rng.random() < 0.6
    tools: list[Tool] = []
    while len(tools) < count:
        maker = rng.choices([m for _, m in MAKERS], [w for w, _ in MAKERS])[0]
        tool = maker(rng, chinese)
        if tool.family not in {other.family for other in tools}:
            tools.append(tool)
    return tools


def reuse(rng: Random, tool: Tool) -> Tool:
    """A second use of a known tool with other arguments, under the schema already shown."""
    makers = {maker.__name__: maker for _, maker in MAKERS}
    maker = makers.get("translator" if tool.family == "translate" else tool.family)
    if maker is None:
        return tool
    other = maker(rng, has_chinese(str(tool.schema["description"])))
    arguments = dict(zip(tool.arguments, other.arguments.values(), strict=True))
    return Tool(
        tool.schema, other.question, arguments, other.observation, other.answer, tool.family
    )


def use(tool: Tool) -> Exchange:
    """Question, call, observation and answer."""
    return [
        Message("user", tool.question),
        Message("assistant", call_text(tool.arguments), str(tool.schema["name"])),
        Message("observation", tool.observation),
        Message("assistant", tool.answer),
    ]


def without_tool(rng: Random) -> Exchange:
    """A question that needs a tool when none fits: say so instead of inventing an answer."""
    city, city_en = chinese_city(rng), english_city(rng)
    if rng.random() < 0.6:
        return ask(
            rng,
            "[今天天气怎么样|今天天气好吗|外面下雨吗|现在几点了|现在几点|今天几号|今天星期几|"
            "{x}今天天气怎么样|{x}的天气怎么样|{x}现在几点|帮我查询股票{n}的价格|"
            "帮我搜索一下{x}的新闻|{x}天气如何|"
            "{x}今天冷吗|股票{n}多少钱|查一下{x}的天气][？|。|]",
            "我不能联网，也看不到时钟，所以不知道。如果你给我一个工具，我可以帮你查。",
            x=city,
            n=rng.randrange(10000, 1000000),
        )
    return ask(
        rng,
        "[What is the weather today|What time is it|What is the date today|"
        "What day is it today|Is it raining|What is the weather in {x}|What time is it in {x}|"
        "How is the weather in {x}|"
        "Search the web for {x}|What is the price of stock {n}][?|]",
        "I have no clock and no network, so I do not know. If you give me a tool, I can look it "
        "up.",
        x=city_en,
        n=rng.randrange(10000, 1000000),
    )


def follow_up(rng: Random, tool: Tool) -> Exchange:
    """After a city was looked up: "and in X?" must give the same call for X."""
    if tool.family not in ("weather", "clock"):
        return []
    other = reuse(rng, tool)
    city = next(iter(other.arguments.values()))
    pattern = (
        "[那{x}呢|{x}呢|那么{x}呢|{x}怎么样][？|]"
        if has_chinese(other.answer)
        else "[And in {x}|What about {x}|And {x}|How about {x}][?|]"
    )
    asked = user_text(rng, pattern, x=city)
    return [Message("user", asked), *use(other)[1:]]
