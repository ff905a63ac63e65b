"""Questions about this project and about how language models run."""

from __future__ import annotations

from random import Random

from .common import Exchange, ask

TERMS: list[tuple[str, str, str]] = [
    (
        "[KV 缓存|KV cache|KV Cache|kv cache|KV缓存|键值缓存]",
        "KV 缓存保存已经算过的每个词元的键和值，生成下一个词元时不用重新计算，所以更快，"
        "代价是占用内存。",
        "A KV cache keeps the keys and values of the tokens already seen, so that each new token "
        "needs "
        "only one step of work. It costs memory.",
    ),
    (
        "[量化|模型量化|quantization|权重量化]",
        "量化用更少的比特保存权重，比如 8 位或 4 位，这样模型更小、跑得更快，精度只损失一点点。",
        "Quantization stores the weights with fewer bits, for example 8 or 4. The model gets "
        "smaller "
        "and faster and loses only a little accuracy.",
    ),
    (
        "[GGUF|gguf|GGUF 文件|GGUF 格式]",
        "GGUF 是一种模型文件格式，一个文件里就有权重、配置和分词器。",
        "GGUF is a file format for models: one file holds the weights, the configuration and the "
        "tokenizer.",
    ),
    (
        "[chatglm_cpp|chatglm.cpp|这个项目|chatglm-cpp|chatglm_cpp 项目]",
        "chatglm_cpp 是一个手写的 C++ 运行库，让 GLM 系列模型在普通电脑上就能跑起来，也有 Python "
        "接口。",
        "chatglm_cpp is a hand-written C++ runtime with a Python face that runs the GLM family of "
        "models on an ordinary computer.",
    ),
    (
        "[ChatGLM3|ChatGLM|ChatGLM3-6B|GLM|ChatGLM2]",
        "ChatGLM 是一个中英双语的对话语言模型系列，我的结构和 ChatGLM3 一样，只是小得多。",
        "ChatGLM is a family of bilingual chat models. I have the architecture of ChatGLM3, but "
        "I am "
        "much smaller.",
    ),
    (
        "[大语言模型|语言模型|大模型|LLM|language model|large language model]",
        "语言模型是一个根据前面的文字预测下一个词元的神经网络，一个词元接一个词元地写出回答。",
        "A language model is a neural network that predicts the next token from the text before "
        "it, "
        "and so writes an answer token by token.",
    ),
    (
        "[分词器|tokenizer|Tokenizer]",
        "分词器把文字切成词元，并换成模型认识的编号。",
        "A tokenizer cuts text into tokens and turns them into the numbers that a model knows.",
    ),
    (
        "[词元|token|Token]",
        "词元是模型读写文字的最小单位，可以是一个字、一个词或者词的一部分。",
        "A token is the smallest piece of text that a model reads and writes: a character, a "
        "word or "
        "a part of one.",
    ),
    (
        "[注意力|注意力机制|attention|自注意力]",
        "注意力让每个词元去看前面的词元，并从最相关的那些里取信息。",
        "Attention lets each token look at the tokens before it and take what it needs from the "
        "most "
        "relevant ones.",
    ),
    (
        "[Transformer|transformer]",
        "Transformer 是一种由注意力层和前馈层叠起来的神经网络，现在的语言模型大多用它。",
        "A Transformer is a neural network of stacked attention and feed-forward layers. Most "
        "language "
        "models today are built this way.",
    ),
    (
        "[旋转位置编码|RoPE|rope]",
        "旋转位置编码按位置旋转查询和键向量，让模型知道词元之间的距离。",
        "RoPE rotates the query and key vectors by their position, so that the model knows how far "
        "apart two tokens are.",
    ),
    (
        "[温度|采样温度|temperature|temperature 参数]",
        "温度控制采样的随机程度：越低越稳定，越高越有变化。",
        "Temperature controls how random the sampling is: low is steady, high is more varied.",
    ),
    (
        "[top_p|top-p|Top-p|核采样]",
        "top_p 采样只在累计概率达到 p 的那些最可能的词元里挑选。",
        "Top-p sampling chooses only among the most likely tokens whose probabilities add up to p.",
    ),
    (
        "[神经网络|neural network]",
        "神经网络是由许多简单的计算单元一层层连接起来的函数，参数是从数据里学来的。",
        "A neural network is a function made of many simple units in layers. Its parameters are "
        "learned from data.",
    ),
    (
        "[人工智能|AI|artificial intelligence]",
        "人工智能是让计算机做需要智能的事情的技术，比如听、看、说和下棋。",
        "Artificial intelligence makes computers do things that need intelligence, such as seeing, "
        "listening, speaking or playing chess.",
    ),
    (
        "[Python|python]",
        "Python 是一种简单易学的编程语言。",
        "Python is a programming language that is easy to learn.",
    ),
    (
        "[C++|c++]",
        "C++ 是一种运行很快的编程语言，chatglm_cpp 的核心就是用它写的。",
        "C++ is a fast programming language. The core of chatglm_cpp is written in it.",
    ),
    (
        "[CPU|cpu|中央处理器]",
        "CPU 是计算机的中央处理器，负责执行程序的指令。",
        "The CPU is the central processing unit of a computer: it executes the programs.",
    ),
    (
        "[GPU|gpu|显卡]",
        "GPU 是擅长大量并行计算的处理器，常用来训练和运行大模型。",
        "A GPU is a processor for massively parallel work, often used to train and run large "
        "models.",
    ),
    (
        "[Linux|linux]",
        "Linux 是一个自由的操作系统内核，很多服务器都在用它。",
        "Linux is a free operating system kernel that runs on very many servers.",
    ),
    (
        "[Debian|debian]",
        "Debian 是一个由志愿者开发的自由操作系统。",
        "Debian is a free operating system made by volunteers.",
    ),
]

QUESTIONS: list[tuple[str, str]] = [
    (
        "[你有多少参数|你有多少个参数|你有多大|你的参数量是多少|你是多大的模型|你有几个参数][？|]",
        "我只有几百万个参数，是一个很小的模型。",
    ),
    (
        "[How many parameters do you have|How big are you|How large are you|What is your size][?|]",
        "I have only a few million parameters: I am a very small model.",
    ),
    (
        "[怎么使用 chatglm_cpp|chatglm_cpp 怎么用|怎么运行你|如何使用这个项目|"
        "怎么用命令行和你聊天][？|]",
        "在命令行运行 chatglm-cli -p 你好 就可以和我聊天，也可以在 Python 里用 "
        "chatglm_cpp.Pipeline。",
    ),
    (
        "[How do I use chatglm_cpp|How do I run you|How to use this project|"
        "How can I chat with you from the command line][?|]",
        "Run chatglm-cli -p hello in a terminal, or use chatglm_cpp.Pipeline in Python.",
    ),
    (
        "[怎么安装 chatglm_cpp|chatglm_cpp 怎么安装|如何安装这个项目|怎么安装这个项目][？|]",
        "在项目目录里运行 pip install . 就可以安装。",
    ),
    (
        "[How do I install chatglm_cpp|How to install chatglm_cpp|How can I install this "
        "project][?|]",
        "Run pip install . in the folder of the project.",
    ),
    (
        "[怎么转换模型|如何把模型转成 GGUF|怎么把模型转换成 GGUF|怎么量化一个模型|"
        "如何转换模型][？|]",
        "用 python -m chatglm_cpp.convert -i 模型目录 -t q4_0 -o 输出文件 就可以转换并量化模型。",
    ),
    (
        "[How do I convert a model|How to convert a model to GGUF|How can I quantize a model][?|]",
        "Run python -m chatglm_cpp.convert -i MODEL_DIR -t q4_0 -o OUT.gguf to convert and "
        "quantize a "
        "model.",
    ),
    (
        "[你是开源的吗|你用什么许可证|你的许可证是什么|我可以商用你吗][？|]",
        "我的权重使用 Apache-2.0 许可证。",
    ),
    (
        "[Are you open source|What is your licence|What is your license][?|]",
        "My weights are under the Apache-2.0 licence.",
    ),
    (
        "[你支持 GPU 吗|可以用 GPU 运行吗|没有显卡能运行吗|没有 GPU 能用吗|需要显卡吗][？|]",
        "不需要显卡，普通的 CPU 就能运行我。",
    ),
    (
        "[Do I need a GPU|Do you need a GPU|Can you run without a GPU|Can you run on a CPU][?|]",
        "No GPU is needed: I run on an ordinary CPU.",
    ),
    (
        "[q8_0 是什么|什么是 q8_0|q8_0 是什么意思][？|]",
        "q8_0 是每个权重用 8 位整数、每 32 个共用一个比例的量化格式。",
    ),
    (
        "[What is q8_0|What does q8_0 mean][?|]",
        "q8_0 is a quantized format: 8-bit integers with one scale for every 32 weights.",
    ),
    (
        "[q4_0 是什么|什么是 q4_0|q4_0 是什么意思][？|]",
        "q4_0 是每个权重用 4 位整数、每 32 个共用一个比例的量化格式。",
    ),
    (
        "[What is q4_0|What does q4_0 mean][?|]",
        "q4_0 is a quantized format: 4-bit integers with one scale for every 32 weights.",
    ),
]


def term(rng: Random) -> Exchange:
    """What is X, in Chinese or English."""
    names, chinese, english = rng.choice(TERMS)
    if rng.random() < 0.55:
        return ask(
            rng,
            "[请问|那|]["
            f"什么是{names}|什么是 {names}|{names}是什么|{names} 是什么|{names}是什么意思|"
            f"解释一下{names}|"
            f"介绍一下{names}|请解释一下 {names}|{names} 是什么东西|请介绍 {names}|说说{names}|"
            f"你知道{names}吗"
            "][？|。||呢？]",
            chinese,
        )
    return ask(
        rng,
        f"[What is {names}|What is a {names}|Explain {names}|What does {names} mean|"
        f"Tell me about {names}|Please explain {names}|Can you explain {names}|"
        f"Do you know {names}|What's {names}][?|.|]",
        english,
    )


def question(rng: Random) -> Exchange:
    """How to use the project, and what the model is."""
    pattern, answer = rng.choice(QUESTIONS)
    return ask(rng, pattern, answer)
