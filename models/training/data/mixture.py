"""How the topics are mixed into conversations: short ones, long ones, with tools, with code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from . import (
    arithmetic,
    facts,
    fallback,
    interpreter,
    project,
    recall,
    smalltalk,
    stories,
    tools,
    translation,
)
from .common import (
    INTERPRETER_PROMPT,
    Exchange,
    Message,
    Topic,
    any_name,
    ask,
    expand,
    weighted,
)

TOPICS: list[tuple[float, Topic]] = [
    (5.0, smalltalk.intent),
    (0.8, smalltalk.joke),
    (0.8, smalltalk.poem),
    (1.8, facts.capital),
    (1.0, facts.colour),
    (0.9, facts.animal),
    (1.1, facts.opposite),
    (1.0, facts.calendar),
    (1.2, facts.general),
    (1.2, facts.series),
    (1.3, project.term),
    (0.7, project.question),
    (2.5, arithmetic.single),
    (1.6, arithmetic.several),
    (0.7, arithmetic.story),
    (0.6, arithmetic.chain),
    (0.5, arithmetic.comparison),
    (2.0, translation.translate),
    (1.8, recall.memory_pair),
    (1.2, recall.echo),
    (1.5, recall.reading),
    (1.3, fallback.beyond),
    (0.4, stories.tell),
    (0.5, tools.without_tool),
]
# Added in the "dense" mix, where copying is to be learnt first.
COPYING_TOPICS: list[tuple[float, Topic]] = [
    (3.0, recall.memory_pair),
    (3.0, recall.echo),
    (2.0, recall.reading),
]
# What may be asked while tools are offered, without any doubt that no tool is needed.
TOPICS_BESIDE_TOOLS: list[tuple[float, Topic]] = [
    (3.0, smalltalk.intent),
    (0.5, smalltalk.joke),
    (1.0, facts.capital),
    (0.7, facts.colour),
    (0.7, facts.opposite),
    (1.0, recall.memory_pair),
]
SYSTEM_MESSAGES = (
    "You are ChatGLM3, a large language model trained by Zhipu.AI. Follow the user's instructions "
    "carefully. Respond using markdown.",
    "You are a helpful assistant.",
    "你是一个乐于助人的助手。",
    "You are a helpful assistant. Answer briefly.",
    "请用简短的话回答用户的问题。",
    "你是一位智能AI助手。",
)
_PERSONAS = (
    (
        "你的名字[是|叫]{x}。",
        "[你是谁|你叫什么名字|你叫什么|你的名字是什么][？|]",
        "我叫{x}，很高兴见到你。",
    ),
    (
        "Your name is {x}.",
        "[Who are you|What is your name|What's your name][?|]",
        "My name is {x}. Nice to meet you.",
    ),
)


def _opening(rng: Random) -> Exchange:
    """Usually nothing; sometimes a system message, now and then one that gives the model a name."""
    kind = rng.random()
    if kind < 0.86:
        return []
    if kind < 0.95:
        return [Message("system", rng.choice(SYSTEM_MESSAGES))]
    system, question, answer = rng.choice(_PERSONAS)
    name = any_name(rng)
    return [
        Message("system", expand(rng, system, x=name)),
        *ask(rng, question, answer, x=name),
    ]


def chat(
    rng: Random,
    exchanges: int,
    memory_count: int,
    topics: Sequence[tuple[float, Topic]] = TOPICS,
) -> Exchange:
    """A conversation over several topics, with memories told at some point and asked for later."""
    conversation = _opening(rng)
    parts: list[Exchange] = [weighted(rng, topics) for _ in range(exchanges)]
    for memory in recall.memories(rng, memory_count):
        told = rng.randrange(len(parts) + 1)
        parts.insert(told, memory.statement)
        for _ in range(rng.choice((1, 1, 2))):
            parts.insert(rng.randint(told + 1, len(parts)), memory.question)
    if not conversation and memory_count == 0 and rng.random() < 0.05:
        parts.insert(0, recall.untold(rng))
    for part in parts:
        conversation += part
        if rng.random() < 0.04 and recall.can_be_quoted(conversation):
            conversation += recall.about_earlier_question(rng, conversation)
    return conversation


def tool_chat(rng: Random) -> Exchange:
    """One to three tools are offered; most questions need one of them."""
    offered = tools.draw_tools(rng, rng.choices((1, 2, 3), (6, 3, 2))[0])
    families = {tool.family for tool in offered}
    conversation = [tools.system_message(offered)]
    for turn in range(rng.randint(1, 4)):
        kind = rng.random()
        if kind < 0.72:
            tool = rng.choice(offered)
            conversation += tools.use(tool if turn == 0 else tools.reuse(rng, tool))
            if rng.random() < 0.3:
                conversation += tools.follow_up(rng, tool)
        elif kind < 0.8 and not families & {"weather", "stock", "search", "clock"}:
            conversation += tools.without_tool(rng)
        else:
            conversation += weighted(rng, TOPICS_BESIDE_TOOLS)
    return conversation


def interpreter_chat(rng: Random) -> Exchange:
    """Code-interpreter mode, with some small talk in between."""
    conversation = [Message("system", INTERPRETER_PROMPT)]
    for _ in range(rng.randint(1, 4)):
        is_task = rng.random() < 0.82
        conversation += interpreter.solve(rng) if is_task else smalltalk.intent(rng)
    return conversation


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of conversation; the rest of the samples is plain text."""

    short_chat: float
    memory_chat: float
    long_chat: float
    tools: float
    interpreter: float
    topics: list[tuple[float, Topic]]


# "dense" has few tokens that teach nothing (tool listings) and much that must be copied: it brings
# a young model to copying sooner. "full" is what the finished model should be able to do.
MIXES = {
    "full": Mix(0.39, 0.24, 0.06, 0.16, 0.08, TOPICS),
    "dense": Mix(0.45, 0.34, 0.01, 0.08, 0.09, [*TOPICS, *COPYING_TOPICS]),
}


def conversation(rng: Random, mix: Mix) -> Exchange | None:
    """One training conversation, or nothing where the mix wants plain text."""
    kinds: list[tuple[float, Callable[[], Exchange]]] = [
        (mix.short_chat, lambda: chat(rng, rng.randint(1, 3), 0, mix.topics)),
        (mix.memory_chat, lambda: chat(rng, rng.randint(1, 7), rng.randint(1, 2), mix.topics)),
        (mix.long_chat, lambda: chat(rng, rng.randint(18, 34), rng.randint(3, 7), mix.topics)),
        (mix.tools, lambda: tool_chat(rng)),
        (mix.interpreter, lambda: interpreter_chat(rng)),
    ]
    draw = rng.random()
    for share, make in kinds:
        draw -= share
        if draw < 0:
            return make()
    return None
