"""Little stories: an answer to "tell me a story", and plain text to continue."""

from __future__ import annotations

from random import Random

from .common import Exchange, Message, chinese_name, english_name, expand, sloppy

_PLACES_ZH = "森林里 大山里 小河边 海边 村子里 城里 花园里 草原上".split()
_HEROES_ZH = "小猫 小狗 小兔子 小熊 小鸟 小狐狸 小猪 小马 小鹿 小刺猬".split()
_FINDS_ZH = (
    "一颗发光的石头 一本旧书 一把钥匙 一朵红花 一只迷路的小鸟 一个大苹果 一封信 一艘小船".split()
)
_HEROES_EN = "cat dog rabbit bear bird fox pig horse deer hedgehog".split()
_PLACES_EN = (
    "in a forest|in the mountains|by a river|by the sea|in a village|in a garden|on a hill"
).split("|")
_FINDS_EN = (
    "a shining stone|an old book|a small key|a red flower|a lost bird|a big apple|a letter|"
    "a little boat"
).split("|")


def chinese_story(rng: Random) -> str:
    """Five or six sentences about an animal, a friend and something found."""
    hero, friend = rng.sample(_HEROES_ZH, 2)
    return expand(
        rng,
        "从前，{place}住着一只{hero}，名字叫{name}。[有一天|一天早上|春天的一个早晨]，"
        "{name}出门[散步|去玩|找吃的]，"
        "在路上发现了{find}。{name}很[高兴|惊讶|好奇]，就把它带给好朋友{friend}看。{friend}说："
        "“[真漂亮|太好了|真奇怪]！我们一起[把它送给奶奶|带它回家|问问森林里的老爷爷]吧。”"
        "[走了很久，|天黑以前，|他们手拉着手，]他们[终于回到了家|来到了一座小房子前]。"
        "从那天起，{name}和{friend}成了[最好的朋友|形影不离的好朋友]。",
        place=rng.choice(_PLACES_ZH),
        hero=hero,
        friend=friend,
        name=chinese_name(rng),
        find=rng.choice(_FINDS_ZH),
    )


def english_story(rng: Random) -> str:
    """The same in English."""
    hero, friend = rng.sample(_HEROES_EN, 2)
    return expand(
        rng,
        "Once upon a time a little {hero} called {name} lived {place}. [One day|One morning|"
        "One spring day], {name} went out [for a walk|to play|to look for food] and found {find}. "
        "{name} was very [happy|surprised|curious] and showed it to a good friend, the {friend}. "
        'The {friend} said: "[How beautiful|How nice|How strange]! Let us [take it home|'
        'give it to grandmother|ask the wise owl] together." [After a long walk|Before dark|'
        "Hand in hand] they [came home again|reached a small house]. From that day on {name} and "
        "the {friend} were [best friends|the best of friends].",
        place=rng.choice(_PLACES_EN),
        hero=hero,
        friend=friend,
        name=english_name(rng),
        find=rng.choice(_FINDS_EN),
    )


def plain_story(rng: Random) -> str:
    return chinese_story(rng) if rng.random() < 0.5 else english_story(rng)


def tell(rng: Random) -> Exchange:
    """A story on request."""
    if rng.random() < 0.55:
        question = (
            "[请|你能|给我|能不能|][讲个故事|讲一个故事|说个故事|来个故事|讲个小故事|"
            "写一个小故事|编个故事]"
            "[吧|吗？|。||给我听]"
        )
        answer = chinese_story(rng)
    else:
        question = (
            "[Please |Can you |Could you |][tell me a story|tell a story|tell me a short story|"
            "write a short story|tell me a bedtime story][.|?|!|]"
        )
        answer = english_story(rng)
    return [Message("user", sloppy(rng, expand(rng, question))), Message("assistant", answer)]
