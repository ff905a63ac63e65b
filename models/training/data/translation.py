"""A pocket dictionary, and a few everyday sentences."""

from __future__ import annotations

from random import Random

from .common import Exchange, ask

WORDS = [
    tuple(pair.split("="))
    for pair in """
苹果=apple 香蕉=banana 水=water 火=fire 山=mountain 河=river 大海=sea 天空=sky 太阳=sun
月亮=moon 星星=star 狗=dog 猫=cat 鸟=bird 鱼=fish 马=horse 牛=cow 羊=sheep 老虎=tiger 狮子=lion
大象=elephant 兔子=rabbit 熊猫=panda 书=book 笔=pen 桌子=table 椅子=chair 门=door 窗户=window
房子=house 学校=school 老师=teacher 学生=student 医生=doctor 朋友=friend 妈妈=mother 爸爸=father
哥哥=brother 姐姐=sister 孩子=child 红色=red 蓝色=blue 绿色=green 黄色=yellow 白色=white
黑色=black 一=one 二=two 三=three 十=ten 今天=today 明天=tomorrow 昨天=yesterday 早上=morning
晚上=evening 夏天=summer 冬天=winter 春天=spring 秋天=autumn 雨=rain 雪=snow 风=wind 花=flower
树=tree 草=grass 牛奶=milk 面包=bread 米饭=rice 鸡蛋=egg 茶=tea 咖啡=coffee 糖=sugar 盐=salt
音乐=music 电影=film 电脑=computer 手机=phone 汽车=car 火车=train 飞机=plane 自行车=bicycle
城市=city 国家=country 世界=world 爱=love 时间=time 钱=money 工作=work 家=home 跑=run 吃=eat
喝=drink 睡觉=sleep 读=read 写=write 唱歌=sing 跳舞=dance 快乐=happy 美丽=beautiful 模型=model
语言=language 问题=question 答案=answer 数字=number 名字=name 颜色=colour 生日=birthday
礼物=gift 故事=story
""".split()
]
SENTENCES = [
    ("你好", "Hello"),
    ("早上好", "Good morning"),
    ("晚安", "Good night"),
    ("谢谢你", "Thank you"),
    ("再见", "Goodbye"),
    ("我爱你", "I love you"),
    ("生日快乐", "Happy birthday"),
    ("你叫什么名字", "What is your name"),
    ("很高兴认识你", "Nice to meet you"),
    ("今天天气很好", "The weather is nice today"),
    ("我喜欢读书", "I like to read books"),
    ("我们是朋友", "We are friends"),
    ("他在喝茶", "He is drinking tea"),
    ("我想回家", "I want to go home"),
    ("这本书很有意思", "This book is very interesting"),
    ("猫在桌子上", "The cat is on the table"),
    ("我不知道", "I do not know"),
    ("对不起", "I am sorry"),
    ("现在几点了", "What time is it"),
    ("我来自中国", "I come from China"),
]
_TO_ENGLISH = (
    "[请问|那|][{quoted}用英语怎么说|{quoted}的英文是什么|{quoted}用英文怎么说|{quoted}翻译成英文|"
    "把{quoted}翻译成英语|请把{quoted}翻译成英文|{quoted}英语怎么说|翻译成英文：{text}|"
    "{quoted}的英语是什么|"
    "How do you say {quoted} in English|Translate {quoted} into English|"
    "What does {quoted} mean in English][？|。|]"
)
_TO_CHINESE = (
    "[请问{quoted}是什么意思|{quoted}是什么意思|{quoted}用中文怎么说|{quoted}翻译成中文|"
    "把{quoted}翻译成中文|"
    "请把{quoted}翻译成中文|{quoted} 的中文是什么|翻译成中文：{text}|How do you say {quoted} in "
    "Chinese|"
    "Translate {quoted} into Chinese|What is {quoted} in Chinese|Translate to Chinese: {text}][？"
    "|?|]"
)


def _quoted(rng: Random, text: str) -> str:
    return rng.choice(("“{}”", "{}", "{}", '"{}"', "「{}」", "'{}'")).format(text)


def translate(rng: Random) -> Exchange:
    """A word or a sentence, either way."""
    chinese, english = rng.choice(WORDS if rng.random() < 0.75 else SENTENCES)
    if rng.random() < 0.5:
        question = _TO_ENGLISH.replace("{quoted}", _quoted(rng, chinese))
        return ask(rng, question, "“{a}”的英文是“{b}”。", text=chinese, a=chinese, b=english)
    source = english.lower() if rng.random() < 0.3 else english
    question = _TO_CHINESE.replace("{quoted}", _quoted(rng, source))
    return ask(rng, question, "“{a}”的中文是“{b}”。", text=source, a=english, b=chinese)
