"""Questions beyond this world: the model should admit that it is small, not invent an answer."""

from __future__ import annotations

from random import Random

from .common import (
    Exchange,
    ask,
    chinese_name,
    english_name,
    made_up_word,
)

_THINGS_ZH = (
    "量子力学 相对论 股票市场 光合作用 区块链 宇宙大爆炸 黑洞 房地产 法国大革命 三国演义 红楼梦 "
    "唐朝 宋朝 工业革命 "
    "微积分 线性代数 概率论 心理学 哲学 基因 病毒 疫苗 火山 地震 恐龙 电动车 航天飞机 卫星 芯片 "
    "数据库 操作系统 编译器 "
    "足球世界杯 奥运会 交响乐 油画 京剧 书法 红酒 减肥 健身 瑜伽 旅游 租房 保险 贷款 税收 法律 "
    "合同 专利 感冒 高血压 "
    "糖尿病 维生素 蛋白质 减压 考研 面试 简历 创业 广告 电商 物流 气候变化 核聚变 石油 煤炭 钢铁 "
    "水泥 农业 小麦 玉米 "
    "文艺复兴 诺贝尔奖 长城 故宫 敦煌 丝绸之路"
).split()
_THINGS_EN = (
    "quantum mechanics|relativity|the stock market|photosynthesis|blockchain|the big bang|"
    "black holes|the French Revolution|calculus|linear algebra|psychology|philosophy|genetics|"
    "viruses|vaccines|volcanoes|earthquakes|dinosaurs|electric cars|satellites|databases|"
    "compilers|the World Cup|the Olympics|symphonies|opera|wine|yoga|insurance|taxes|contracts|"
    "diabetes|vitamins|job interviews|advertising|climate change|nuclear fusion|oil|steel|farming|"
    "the Renaissance|the Great Wall|the Silk Road|Shakespeare|Napoleon|Einstein|Newton|Mozart"
).split("|")
_REPLY_ZH = "对不起，我只是一个很小的演示模型，这个问题我还不会。"
_REPLY_EN = "I am sorry, I am only a tiny demo model and I do not know that."


def beyond(rng: Random) -> Exchange:
    """Something hard, famous, or made up."""
    if rng.random() < 0.6:
        kind = rng.random()
        thing = rng.choice(_THINGS_ZH)
        if kind < 0.25:
            thing = chinese_name(rng) if rng.random() < 0.6 else made_up_word(rng)
        return ask(
            rng,
            "[请问|请|那|]["
            "什么是{x}|{x}是什么|解释一下{x}|介绍一下{x}|{x}是谁|为什么会有{x}|{x}的历史是什么|"
            "怎么学习{x}|"
            "写一篇关于{x}的文章|帮我写一份{x}的报告|{x}有哪些优点|如何看待{x}|"
            "{x}是什么时候出现的|{x}怎么样|"
            "给我一些关于{x}的建议|谁发明了{x}|{x}的原理是什么|{x}为什么重要|写一个关于{x}的程序|"
            "推荐一本讲{x}的书|"
            "{x}要多少钱|分析一下{x}|总结一下{x}|你怎么看{x}|比较一下{x}和{y}|{x}和{y}有什么区别|"
            "{x}难吗"
            "][？|。|]",
            _REPLY_ZH,
            x=thing,
            y=rng.choice(_THINGS_ZH),
        )
    thing = rng.choice(_THINGS_EN)
    if rng.random() < 0.25:
        thing = english_name(rng) if rng.random() < 0.5 else made_up_word(rng)
    return ask(
        rng,
        "[Please |Can you |]["
        "explain {x}|write an essay about {x}|write a report about {x}|summarize {x}|"
        "give me advice on {x}|recommend a book about {x}|analyse {x}|compare {x} and {y}"
        "][.|?|]"
        if rng.random() < 0.4
        else "[What is {x}|What are {x}|Who is {x}|Who invented {x}|How does {x} work|"
        "Why is {x} important|When did {x} begin|What is the history of {x}|How can I learn {x}|"
        "What is the difference between {x} and {y}|What do you think of {x}|"
        "How much does {x} cost|Where can I find {x}|Who won {x}][?|]",
        _REPLY_EN,
        x=thing,
        y=rng.choice(_THINGS_EN),
    )
