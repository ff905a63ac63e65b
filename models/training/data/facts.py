"""The small encyclopaedia of the training world: capitals, colours, animals, opposites, days."""

from __future__ import annotations

from random import Random

from .common import Exchange, ask, expand, has_chinese

# country zh, capital zh, country en, capital en
COUNTRIES = [
    tuple(line.split(","))
    for line in """中国,北京,China,Beijing
日本,东京,Japan,Tokyo
韩国,首尔,South Korea,Seoul
法国,巴黎,France,Paris
德国,柏林,Germany,Berlin
英国,伦敦,the United Kingdom,London
美国,华盛顿,the United States,Washington
俄罗斯,莫斯科,Russia,Moscow
意大利,罗马,Italy,Rome
西班牙,马德里,Spain,Madrid
葡萄牙,里斯本,Portugal,Lisbon
希腊,雅典,Greece,Athens
埃及,开罗,Egypt,Cairo
印度,新德里,India,New Delhi
泰国,曼谷,Thailand,Bangkok
越南,河内,Vietnam,Hanoi
加拿大,渥太华,Canada,Ottawa
澳大利亚,堪培拉,Australia,Canberra
巴西,巴西利亚,Brazil,Brasilia
阿根廷,布宜诺斯艾利斯,Argentina,Buenos Aires
墨西哥,墨西哥城,Mexico,Mexico City
荷兰,阿姆斯特丹,the Netherlands,Amsterdam
比利时,布鲁塞尔,Belgium,Brussels
瑞士,伯尔尼,Switzerland,Bern
奥地利,维也纳,Austria,Vienna
瑞典,斯德哥尔摩,Sweden,Stockholm
挪威,奥斯陆,Norway,Oslo
芬兰,赫尔辛基,Finland,Helsinki
丹麦,哥本哈根,Denmark,Copenhagen
波兰,华沙,Poland,Warsaw
土耳其,安卡拉,Turkey,Ankara
新西兰,惠灵顿,New Zealand,Wellington
爱尔兰,都柏林,Ireland,Dublin
匈牙利,布达佩斯,Hungary,Budapest
古巴,哈瓦那,Cuba,Havana
智利,圣地亚哥,Chile,Santiago
秘鲁,利马,Peru,Lima
蒙古,乌兰巴托,Mongolia,Ulaanbaatar
印度尼西亚,雅加达,Indonesia,Jakarta
菲律宾,马尼拉,the Philippines,Manila""".splitlines()
]

# thing zh, colour zh, thing en, colour en
COLOURS = [
    tuple(line.split(","))
    for line in """天空,蓝色,the sky,blue
大海,蓝色,the sea,blue
草,绿色,grass,green
树叶,绿色,a leaf,green
太阳,金黄色,the sun,golden yellow
香蕉,黄色,a banana,yellow
柠檬,黄色,a lemon,yellow
苹果,红色,an apple,red
草莓,红色,a strawberry,red
番茄,红色,a tomato,red
血,红色,blood,red
雪,白色,snow,white
牛奶,白色,milk,white
云,白色,a cloud,white
煤,黑色,coal,black
乌鸦,黑色,a crow,black
夜晚,黑色,the night,black
葡萄,紫色,a grape,purple
茄子,紫色,an eggplant,purple
橙子,橙色,an orange,orange
胡萝卜,橙色,a carrot,orange
大象,灰色,an elephant,grey
巧克力,棕色,chocolate,brown
熊猫,黑白两色,a panda,black and white""".splitlines()
]

# animal zh, sound zh, legs, home zh, animal en, sound en, home en
ANIMALS = [
    tuple(line.split(","))
    for line in """小狗,汪汪,4,狗窝里,dog,woof,in a kennel
小猫,喵喵,4,家里,cat,meow,in a house
奶牛,哞哞,4,牛棚里,cow,moo,in a barn
绵羊,咩咩,4,草地上,sheep,baa,on the grass
鸭子,嘎嘎,2,池塘边,duck,quack,near a pond
公鸡,喔喔,2,鸡舍里,rooster,cock-a-doodle-doo,in a henhouse
小鸟,叽叽喳喳,2,树上,bird,tweet,in a tree
青蛙,呱呱,4,池塘里,frog,ribbit,in a pond
小猪,哼哼,4,猪圈里,pig,oink,in a pigsty
蜜蜂,嗡嗡,6,蜂巢里,bee,buzz,in a hive
狮子,吼吼,4,草原上,lion,roar,on the savanna
马,嘶嘶,4,马厩里,horse,neigh,in a stable""".splitlines()
]

OPPOSITES = [
    tuple(line.split(","))
    for line in """大,小,big,small
高,矮,high,low
长,短,long,short
快,慢,fast,slow
热,冷,hot,cold
黑,白,black,white
左,右,left,right
上,下,up,down
前,后,front,back
里,外,inside,outside
多,少,many,few
好,坏,good,bad
新,旧,new,old
早,晚,early,late
远,近,far,near
深,浅,deep,shallow
胖,瘦,fat,thin
强,弱,strong,weak
软,硬,soft,hard
干,湿,dry,wet
轻,重,light,heavy
开,关,open,closed
美,丑,beautiful,ugly
富,穷,rich,poor
真,假,true,false
甜,苦,sweet,bitter
哭,笑,cry,laugh
买,卖,buy,sell
胜,败,win,lose
开始,结束,begin,end
安静,吵闹,quiet,noisy
干净,肮脏,clean,dirty
容易,困难,easy,difficult
安全,危险,safe,dangerous
白天,黑夜,day,night
高兴,难过,happy,sad""".splitlines()
]

# question pattern -> answer
GENERAL: list[tuple[str, str]] = [
    ("[一周|一个星期|一星期|一个礼拜]有[几|多少]天[？|]", "一周有7天。"),
    (
        "[How many days are there in a week|How many days does a week have][?|]",
        "A week has 7 days.",
    ),
    ("一年有[几|多少]个月[？|]", "一年有12个月。"),
    (
        "[How many months are there in a year|How many months does a year have][?|]",
        "A year has 12 months.",
    ),
    ("一年有[几|多少]天[？|]", "一年有365天，闰年有366天。"),
    (
        "[How many days are there in a year|How many days does a year have][?|]",
        "A year has 365 days, and a leap year has 366.",
    ),
    ("一天有[几|多少][个小时|小时][？|]", "一天有24个小时。"),
    (
        "[How many hours are there in a day|How many hours does a day have][?|]",
        "A day has 24 hours.",
    ),
    ("[一小时|一个小时]有[几|多少]分钟[？|]", "一小时有60分钟。"),
    (
        "[How many minutes are there in an hour|How many minutes does an hour have][?|]",
        "An hour has 60 minutes.",
    ),
    ("一分钟有[几|多少]秒[？|]", "一分钟有60秒。"),
    (
        "[How many seconds are there in a minute|How many seconds does a minute have][?|]",
        "A minute has 60 seconds.",
    ),
    ("一年有[哪几个|哪四个|几个]季节[？|]", "一年有四个季节：春天、夏天、秋天和冬天。"),
    (
        "[What are the four seasons|Which seasons are there|How many seasons are there][?|]",
        "There are four seasons: spring, summer, autumn and winter.",
    ),
    ("彩虹有[几种|哪几种|哪些|几个]颜色[？|]", "彩虹有七种颜色：红、橙、黄、绿、青、蓝、紫。"),
    (
        "[What are the colours of the rainbow|How many colours has the rainbow|"
        "What colors are in a rainbow][?|]",
        "The rainbow has seven colours: red, orange, yellow, green, blue, indigo and violet.",
    ),
    ("太阳从[哪里|哪边|哪个方向|什么方向]升起[？|]", "太阳从东方升起。"),
    (
        "[Where does the sun rise|In which direction does the sun rise][?|]",
        "The sun rises in the east.",
    ),
    ("太阳从[哪里|哪边|哪个方向|什么方向]落下[？|]", "太阳从西方落下。"),
    (
        "[Where does the sun set|In which direction does the sun set][?|]",
        "The sun sets in the west.",
    ),
    ("水[在多少度|多少度|几度][会|][沸腾|烧开|开][？|]", "水在100摄氏度沸腾。"),
    (
        "[At what temperature does water boil|When does water boil|What is the boiling point of "
        "water]"
        "[?|]",
        "Water boils at 100 degrees Celsius.",
    ),
    ("水[在多少度|多少度|几度][结冰|会结冰][？|]", "水在0摄氏度结冰。"),
    (
        "[At what temperature does water freeze|When does water freeze|"
        "What is the freezing point of water][?|]",
        "Water freezes at 0 degrees Celsius.",
    ),
    ("[世界上|]最高的山[峰|][是什么|是哪座|叫什么][？|]", "世界上最高的山峰是珠穆朗玛峰。"),
    (
        "[What is the highest mountain|Which mountain is the highest in the world|"
        "What is the tallest mountain in the world][?|]",
        "The highest mountain in the world is Mount Everest.",
    ),
    ("中国最长的河[流|][是什么|是哪条|叫什么][？|]", "中国最长的河流是长江。"),
    (
        "[What is the longest river in China|Which river is the longest in China][?|]",
        "The longest river in China is the Yangtze.",
    ),
    ("[世界上|]最大的动物是什么[？|]", "世界上最大的动物是蓝鲸。"),
    (
        "[What is the biggest animal|What is the largest animal in the world|"
        "Which animal is the biggest][?|]",
        "The biggest animal in the world is the blue whale.",
    ),
    ("[世界上|陆地上|]跑得最快的动物是什么[？|]", "跑得最快的动物是猎豹。"),
    (
        "[What is the fastest animal|Which animal runs the fastest][?|]",
        "The fastest animal on land is the cheetah.",
    ),
    ("[地球|世界][上|]最大的[洋|海洋][是什么|是哪个][？|]", "最大的海洋是太平洋。"),
    (
        "[What is the largest ocean|Which ocean is the biggest][?|]",
        "The largest ocean is the Pacific.",
    ),
    ("[地球|我们的星球]绕[着|][什么|谁]转[？|]", "地球绕着太阳转。"),
    (
        "[What does the earth go around|What does the Earth orbit][?|]",
        "The earth goes around the sun.",
    ),
    ("[天空|天]为什么是蓝[色|]的[？|]", "因为空气更容易散射阳光里的蓝光，所以天空看起来是蓝色的。"),
    (
        "Why is the sky blue[?|]",
        "Because the air scatters the blue part of the sunlight most, the sky looks blue.",
    ),
    ("床前明月光的下一句[是什么|][？|]", "“床前明月光”的下一句是“疑是地上霜”。"),
    ("[静夜思|《静夜思》][是谁写的|的作者是谁|是谁的诗][？|]", "《静夜思》是唐代诗人李白写的。"),
    ("[李白是谁|谁是李白|介绍一下李白|李白是什么人][？|]", "李白是唐代著名的诗人，被称为“诗仙”。"),
    ("[Who was Li Bai|Who is Li Bai][?|]", "Li Bai was a famous poet of the Tang dynasty."),
    ("[世界上|]人口最多的[国家是哪个|国家是哪里][？|]", "世界上人口最多的国家是印度，其次是中国。"),
    (
        "[What is the most populous country|Which country has the most people][?|]",
        "India has the most people, followed by China.",
    ),
]

WEEK_ZH = "星期一 星期二 星期三 星期四 星期五 星期六 星期日".split()
WEEK_EN = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS_EN = (
    "January February March April May June July August September October November December"
).split()


def capital(rng: Random) -> Exchange:
    """Country to capital and back, in both languages."""
    country, city, country_en, city_en = rng.choice(COUNTRIES)
    values = {"country": country, "city": city, "Country": country_en, "City": city_en}
    asked = {**values, "Country": country_en.lower(), "City": city_en.lower()}
    asked = asked if rng.random() < 0.2 else values
    kind = rng.random()
    if kind < 0.4:
        return ask(
            rng,
            "[请问|请告诉我|你知道|那|告诉我|]{country}的首都[是哪里|在哪里|是什么|是哪个城市|"
            "是哪座城市|在哪|是哪|叫什么|"
            "呢|是][？|吗？|]",
            "{country}的首都是{city}。",
            **values,
        )
    if kind < 0.55:
        return ask(
            rng,
            "[请问|你知道|那|]{city}是[哪个国家的首都|哪国的首都|哪国首都|什么国家的首都][？|吗？"
            "|呢？]",
            "{city}是{country}的首都。",
            **values,
        )
    if kind < 0.87:
        return ask(
            rng,
            "[What is the capital of {Country}|What's the capital of {Country}|"
            "Tell me the capital of {Country}|Do you know the capital of {Country}|"
            "Which city is the capital of {Country}|The capital of {Country}|"
            "Can you tell me the capital of {Country}|Name the capital of {Country}|"
            "And the capital of {Country}|capital of {Country}][?|.|]",
            expand(rng, "The capital of {Country} is {City}.", **values),
            **asked,
        )
    return ask(
        rng,
        "[Which country's capital is {City}|{City} is the capital of which country|"
        "Of which country is {City} the capital|What country has the capital {City}][?|]",
        expand(rng, "{City} is the capital of {Country}.", **values),
        **asked,
    )


def colour(rng: Random) -> Exchange:
    """The colour of an everyday thing."""
    thing, shade, thing_en, shade_en = rng.choice(COLOURS)
    if rng.random() < 0.55:
        return ask(
            rng,
            "[请问|你知道|那|][{thing}是什么颜色|{thing}是什么颜色的|{thing}的颜色是什么|"
            "{thing}是啥颜色|"
            "{thing}什么颜色][？|呢？|吗？|]",
            "{thing}是{shade}的。",
            thing=thing,
            shade=shade,
        )
    return ask(
        rng,
        "[What colour is {thing}|What color is {thing}|What is the colour of {thing}|"
        "What is the color of {thing}|Which colour is {thing}|Tell me the color of {thing}][?|]",
        "{Thing} is {shade}.",
        thing=thing_en,
        Thing=thing_en[0].upper() + thing_en[1:],
        shade=shade_en,
    )


def animal(rng: Random) -> Exchange:
    """What an animal says, how many legs it has, where it lives."""
    name, sound, legs, home, name_en, sound_en, home_en = rng.choice(ANIMALS)
    values = {"name": name, "sound": sound, "legs": legs, "home": home}
    values_en = {"name": name_en, "sound": sound_en, "legs": legs, "home": home_en}
    return rng.choice(
        (
            lambda: ask(
                rng,
                "[请问|]{name}[怎么叫|的叫声是什么|是怎么叫的|会怎么叫][？|呢？|]",
                "{name}的叫声是“{sound}”。",
                **values,
            ),
            lambda: ask(
                rng,
                "[请问|]{name}有[几条|多少条|几只]腿[？|呢？|]",
                "{name}有{legs}条腿。",
                **values,
            ),
            lambda: ask(
                rng,
                "[请问|]{name}[住在哪里|住哪儿|住在什么地方|生活在哪里][？|呢？|]",
                "{name}住在{home}。",
                **values,
            ),
            lambda: ask(
                rng,
                "[What sound does a {name} make|What does a {name} say|"
                "Which sound does a {name} make][?|]",
                'A {name} says "{sound}".',
                **values_en,
            ),
            lambda: ask(
                rng,
                "[How many legs does a {name} have|How many legs has a {name}][?|]",
                "A {name} has {legs} legs.",
                **values_en,
            ),
            lambda: ask(
                rng,
                "[Where does a {name} live|Where can I find a {name}|"
                "Where do you find a {name}][?|]",
                "A {name} lives {home}.",
                **values_en,
            ),
        )
    )()


def opposite(rng: Random) -> Exchange:
    """Antonyms, asked from either side."""
    first, second, first_en, second_en = rng.choice(OPPOSITES)
    if rng.random() < 0.55:
        if rng.random() < 0.5:
            first, second = second, first
        return ask(
            rng,
            "[请问|那|][“{first}”|{first}]的[反义词|反义词|相反词]是[什么|啥][？|呢？|]",
            "“{first}”的反义词是“{second}”。",
            first=first,
            second=second,
        )
    if rng.random() < 0.5:
        first_en, second_en = second_en, first_en
    return ask(
        rng,
        '[What is the opposite of ["{first}"|{first}]|What\'s the opposite of {first}|'
        "Tell me the opposite of {first}|opposite of {first}|Give me the antonym of {first}|"
        "And the opposite of {first}][?|]",
        'The opposite of "{first}" is "{second}".',
        first=first_en,
        second=second_en,
    )


def calendar(rng: Random) -> Exchange:
    """The day or month before or after another."""
    day = rng.randrange(7)
    step = rng.choice((1, -1))
    kind = rng.random()
    if kind < 0.5:
        near = {
            1: "[后面一天|后一天|的后一天|的下一天|之后一天]",
            -1: "[前面一天|前一天|的前一天|的上一天|之前一天]",
        }
        return ask(
            rng,
            "[请问|]{day}" + near[step] + "是[星期几|哪天|什么][？|呢？|]",
            "{day}的" + {1: "后", -1: "前"}[step] + "一天是{other}。",
            day=WEEK_ZH[day],
            other=WEEK_ZH[(day + step) % 7],
        )
    if kind < 0.6:
        return ask(
            rng,
            "[如果|假如|]今天是{day}，[那么|那|]"
            + {1: "明天", -1: "昨天"}[step]
            + "是[星期几|周几][？|呢？|]",
            "如果今天是{day}，" + {1: "明天", -1: "昨天"}[step] + "是{other}。",
            day=WEEK_ZH[day],
            other=WEEK_ZH[(day + step) % 7],
        )
    word = {1: "after", -1: "before"}[step]
    names = WEEK_EN if kind < 0.85 else MONTHS_EN
    unit = "day" if names is WEEK_EN else "month"
    index = rng.randrange(len(names))
    return ask(
        rng,
        "[What comes {word} {name}|Which {unit} comes {word} {name}|What {unit} is {word} {name}]"
        "[?|]",
        "The {unit} {word} {name} is {other}.",
        word=word,
        unit=unit,
        name=names[index],
        other=names[(index + step) % len(names)],
    )


def general(rng: Random) -> Exchange:
    """A fact that stands alone."""
    question, answer = rng.choice(GENERAL)
    prefix = "[请问|你知道||]" if has_chinese(question) else ""
    return ask(rng, prefix + question, answer)


def series(rng: Random) -> Exchange:
    """A question, then "and X?": what is asked stands only in the turns before."""
    if rng.random() < 0.6:
        kinds = (
            ("{a}的首都是[哪里|什么]？", "{a}的首都是{b}。", [(c[0], c[1]) for c in COUNTRIES]),
            ("{a}是什么颜色的？", "{a}是{b}的。", [(c[0], c[1]) for c in COLOURS]),
            ("{a}的反义词是什么？", "“{a}”的反义词是“{b}”。", [(c[0], c[1]) for c in OPPOSITES]),
            ("{a}有几条腿？", "{a}有{b}条腿。", [(c[0], c[2]) for c in ANIMALS]),
        )
        again = "[那|那么|]{a}呢[？|]"
    else:
        kinds = (
            (
                "What is the capital of {a}?",
                "The capital of {a} is {b}.",
                [(c[2], c[3]) for c in COUNTRIES],
            ),
            (
                "What is the opposite of {a}?",
                'The opposite of "{a}" is "{b}".',
                [(c[2], c[3]) for c in OPPOSITES],
            ),
            (
                "How many legs does a {a} have?",
                "A {a} has {b} legs.",
                [(c[4], c[2]) for c in ANIMALS],
            ),
        )
        again = "[And {a}|What about {a}|How about {a}|And what about {a}][?|]"
    question, answer, pairs = rng.choice(kinds)
    exchange: Exchange = []
    for index, (first, second) in enumerate(rng.sample(pairs, rng.randint(2, 3))):
        exchange += ask(rng, question if index == 0 else again, answer, a=first, b=second)
    return exchange
