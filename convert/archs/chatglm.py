"""ChatGLM2, ChatGLM3 and CodeGeeX2: one architecture, three prompt worlds.

The checkpoints hardly say which of the three they are, so `_identify` weighs the evidence. Names
and keys of the GGUF file are llama.cpp's for architecture "chatglm"; docs/gguf-keys.md lists ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..checkpoint import open_checkpoint
from ..errors import ConversionError, UnsupportedCheckpointError
from ..folder import JsonFile, ModelFolder
from ..metadata import Metadata, boolean, f32, integers, text, u32
from ..plan import Plan, TensorSpec, bind_tensors
from ..tokenizer import SentencePieceModel, read_sentencepiece, tokenizer_metadata
from .options import Options

_ARCHITECTURE = "chatglm"
_COMMON_TOKENS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
_ROLE_TOKENS = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
_IGNORED = (".rotary_pos_emb.inv_freq",)
_MAX_ATTENTION = 1 << 20

# A header line of one space and then the content: tokenized by llama.cpp with its own space prefix,
# this gives the official ids. The official template has a space before the line break too, which
# the official tokenizer code does not produce.
_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}[gMASK]sop{% endif %}"
    "<|{{ message['role'] }}|>\n {{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class Variant:
    """What tells the models of this architecture apart.

    Attributes
    ----------
    model_type, chat_format : str
        The values of our keys.
    rope_ratio_scales_base : bool
        rope_ratio multiplies the rotary base; otherwise it divides positions.
    """

    model_type: str
    chat_format: str
    special_tokens: tuple[str, ...]
    rope_ratio_scales_base: bool


VARIANTS = {
    "chatglm3": Variant("chatglm3", "chatglm3", _COMMON_TOKENS + _ROLE_TOKENS, True),
    "chatglm3-base": Variant("chatglm3", "none", _COMMON_TOKENS + _ROLE_TOKENS, True),
    "chatglm2": Variant("chatglm2", "none", _COMMON_TOKENS, False),
    "codegeex2": Variant("codegeex2", "none", _COMMON_TOKENS, False),
}


def recognises(folder: ModelFolder) -> bool:
    """Whether a folder holds a model of this architecture."""
    config = folder.config
    return (
        config.text("model_type") == "chatglm"
        and "ffn_hidden_size" in config  # ChatGLM-6B calls it inner_hidden_size
        and not _is_glm4(folder)
    )


def _is_glm4(folder: ModelFolder) -> bool:
    """Recognise GLM-4-9B, which kept the configuration class, with another tokenizer."""
    tokenizer_class = f"{folder.tokenizer_config.get('auto_map')}"
    return "ChatGLM4Tokenizer" in tokenizer_class or bool(
        re.search(r"glm-?4", _names(folder)) and "chatglm" not in _names(folder)
    )


def plan(folder: ModelFolder, options: Options) -> Plan:
    """Read a checkpoint's configuration and tokenizer, and lay out its file."""
    config = folder.config
    _refuse_unsupported(config)
    sentencepiece = read_sentencepiece(folder.path / "tokenizer.model")
    variant, variant_reason = _identify(folder, sentencepiece, options.model_type)
    shape = _Shape.read(config)
    logn, logn_reason = _logn_attention(folder, variant, options.logn_attention)
    rope, rope_summary = _rope_metadata(folder, variant)
    metadata: Metadata = {
        "general.type": text("model"),
        "general.name": text(_display_name(folder)),
        **_shape_metadata(config, shape),
        **rope,
        **_own_metadata(folder, variant, sentencepiece, logn),
        **_vocabulary_metadata(folder, variant, sentencepiece, shape),
    }
    tensors = bind_tensors(
        _tensor_specs(config, shape), open_checkpoint(folder.path), _IGNORED, folder.path
    )
    chat = "no chat format" if variant.chat_format == "none" else f"chat {variant.chat_format}"
    summary = [
        f"model: {variant.model_type}, {chat} ({variant_reason})",
        f"shape: {shape.layers} layers, hidden {shape.hidden}, {shape.heads} heads, "
        f"{shape.groups} KV groups, vocabulary {shape.vocabulary}, "
        f"{shape.positions} positions{rope_summary}",
        f"logarithmic query scaling: {'on' if logn else 'off'} ({logn_reason})",
    ]
    if shape.attention != shape.hidden:
        summary.append("note: heads wider than the hidden size; llama.cpp does not load this shape")
    return Plan(_ARCHITECTURE, metadata, tensors, summary)


# Shape and tensors.


@dataclass(frozen=True)
class _Shape:
    layers: int
    hidden: int
    heads: int
    groups: int
    head_dim: int
    ffn: int
    vocabulary: int
    positions: int

    @property
    def attention(self) -> int:
        return self.heads * self.head_dim

    @property
    def qkv(self) -> int:
        return (self.heads + 2 * self.groups) * self.head_dim

    @classmethod
    def read(cls, config: JsonFile) -> _Shape:
        """Read the shape; defaults are those of the official configuration class."""
        hidden = config.size("hidden_size", 4096)
        heads = config.size("num_attention_heads", 32)
        grouped = config.flag("multi_query_attention", False)
        groups = config.size("multi_query_group_num", 1) if grouped else heads
        if heads % groups != 0:
            raise ConversionError(
                f"{config.path}: {heads} attention heads can't share {groups} groups"
            )
        if "kv_channels" not in config and hidden % heads != 0:
            raise ConversionError(
                f"{config.path}: hidden_size {hidden} is no multiple of {heads} attention heads"
            )
        head_dim = config.size("kv_channels", hidden // heads)
        if heads * head_dim > _MAX_ATTENTION:
            raise ConversionError(
                f"{config.path}: {heads} attention heads of {head_dim} elements are more than "
                f"{_MAX_ATTENTION} in all"
            )
        return cls(
            layers=config.size("num_layers", 28, maximum=4096),
            hidden=hidden,
            heads=heads,
            groups=groups,
            head_dim=head_dim,
            ffn=config.size("ffn_hidden_size", 13696),
            vocabulary=config.size("padded_vocab_size", 65024, maximum=1 << 22),
            positions=config.size("seq_length", 2048, maximum=1 << 30),
        )


def _refuse_unsupported(config: JsonFile) -> None:
    def refuse(key: str, reason: str) -> None:
        raise UnsupportedCheckpointError(
            f"{config.path}: key {key} is {config.get(key)!r}: {reason}"
        )

    if config.get("quantization_bit") not in (None, 0):
        refuse(
            "quantization_bit",
            "this checkpoint is already quantized; convert the original one and choose the type "
            "with -t",
        )
    if "quantization_config" in config:
        refuse("quantization_config", "this checkpoint is already quantized")
    if config.get("pre_seq_len") not in (None, 0) or config.flag("prefix_projection", False):
        refuse("pre_seq_len", "P-Tuning prefixes are not supported")
    required = {
        "rmsnorm": (True, True),
        "post_layer_norm": (True, True),
        "original_rope": (True, True),
        "add_qkv_bias": (True, False),
        "add_bias_linear": (False, False),
        "apply_residual_connection_post_layernorm": (False, False),
        "interleaved_qkv": (False, False),
    }
    for key, (expected, default) in required.items():
        if config.flag(key, default) is not expected:
            refuse(key, f"only {str(expected).lower()} is supported")
    architectures = config.get("architectures")
    if isinstance(architectures, list) and "ChatGLMForSequenceClassification" in architectures:
        refuse("architectures", "a classifier, not a language model")


def _tensor_specs(config: JsonFile, shape: _Shape) -> list[TensorSpec]:
    order = None
    if not config.flag("multi_query_attention", False):
        order = _deinterleaved(shape)
    encoder = "transformer.encoder."
    hidden, vocabulary = shape.hidden, shape.vocabulary
    specs = [
        TensorSpec(
            "token_embd.weight",
            "transformer.embedding.word_embeddings.weight",
            (vocabulary, hidden),
        )
    ]
    for index in range(shape.layers):
        block, layer = f"blk.{index}.", f"{encoder}layers.{index}."
        qkv = layer + "self_attention.query_key_value"
        specs += [
            TensorSpec(block + "attn_norm.weight", layer + "input_layernorm.weight", (hidden,)),
            TensorSpec(block + "attn_qkv.weight", qkv + ".weight", (shape.qkv, hidden), order),
            TensorSpec(block + "attn_qkv.bias", qkv + ".bias", (shape.qkv,), order),
            TensorSpec(
                block + "attn_output.weight",
                layer + "self_attention.dense.weight",
                (hidden, shape.attention),
            ),
            TensorSpec(
                block + "ffn_norm.weight", layer + "post_attention_layernorm.weight", (hidden,)
            ),
            # The gate's rows, then the other half's: both runtimes read them as one matrix.
            TensorSpec(
                block + "ffn_up.weight", layer + "mlp.dense_h_to_4h.weight", (2 * shape.ffn, hidden)
            ),
            TensorSpec(
                block + "ffn_down.weight", layer + "mlp.dense_4h_to_h.weight", (hidden, shape.ffn)
            ),
        ]
    specs.append(TensorSpec("output_norm.weight", encoder + "final_layernorm.weight", (hidden,)))
    specs.append(
        TensorSpec("output.weight", "transformer.output_layer.weight", (vocabulary, hidden))
    )
    return specs


def _deinterleaved(shape: _Shape) -> npt.NDArray[np.intp]:
    """Order rows as all q, all k, all v.

    Without grouped attention the official code has q, k, v of one head after another.
    """
    rows = np.arange(shape.qkv, dtype=np.intp).reshape(shape.heads, 3, shape.head_dim)
    return np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(shape.qkv)


def _shape_metadata(config: JsonFile, shape: _Shape) -> Metadata:
    keys = {
        "context_length": u32(shape.positions),
        "embedding_length": u32(shape.hidden),
        "feed_forward_length": u32(shape.ffn),
        "block_count": u32(shape.layers),
        "attention.head_count": u32(shape.heads),
        "attention.head_count_kv": u32(shape.groups),
        "attention.layer_norm_rms_epsilon": f32(config.number("layernorm_epsilon", 1e-5)),
        "rope.dimension_count": u32(shape.head_dim // 2),
    }
    if shape.attention != shape.hidden:
        keys["attention.key_length"] = u32(shape.head_dim)
        keys["attention.value_length"] = u32(shape.head_dim)
    return {f"{_ARCHITECTURE}.{key}": value for key, value in keys.items()}


# Identity.


def _names(folder: ModelFolder) -> str:
    """Say where the checkpoint comes from: the last parts of its names, in lower case."""
    names = (folder.config.text("_name_or_path"), folder.tokenizer_config.text("name_or_path"))
    return " ".join(re.split(r"[/\\]", name.rstrip("/\\"))[-1].lower() for name in names)


def _display_name(folder: ModelFolder) -> str:
    name = folder.config.text("_name_or_path").rstrip("/\\")
    return re.split(r"[/\\]", name)[-1] or folder.path.resolve().name or "chatglm"


def _identify(
    folder: ModelFolder, sentencepiece: SentencePieceModel, asked: str
) -> tuple[Variant, str]:
    """Tell the variant, and say what told it."""
    if asked != "auto":
        return VARIANTS[asked], "as asked for"
    names = _names(folder)
    is_base = bool(re.search(r"chatglm3\S*base", names))
    if not sentencepiece.add_dummy_prefix:
        return VARIANTS["codegeex2"], "the tokenizer adds no space before text"
    code = folder.python_text("tokenization_*.py")
    if "<|user|>" in code:
        return VARIANTS[
            "chatglm3-base" if is_base else "chatglm3"
        ], "the tokenizer's code has roles"
    for word, name in (
        ("chatglm3", "chatglm3"),
        ("chatglm2", "chatglm2"),
        ("codegeex2", "codegeex2"),
    ):
        if word in names:
            return VARIANTS[name + ("-base" if is_base else "")], "its name"
    if "<|assistant|>" in f"{folder.tokenizer_config.get('chat_template')}":
        return VARIANTS["chatglm3"], "its chat template has roles"
    if "[gMASK]" in code:
        return VARIANTS["chatglm2"], "the tokenizer's code has no roles"
    return VARIANTS["chatglm3"], "a guess: nothing in the folder says; --model-type overrides"


# Positions.


def _rope_metadata(folder: ModelFolder, variant: Variant) -> tuple[Metadata, str]:
    """Read rope_ratio: ChatGLM3 multiplies the base by it, ChatGLM2-6B-32K divides positions."""
    ratio = folder.config.number("rope_ratio", 1.0)
    scales_base = variant.rope_ratio_scales_base
    code = _code_only(folder.python_text("modeling_*.py"))
    if re.search(r"\*\s*(self\.)?rope_ratio\b", code):
        scales_base = True
    elif re.search(r"/\s*(self\.)?rope_ratio\b", code):
        scales_base = False
    base_key = f"{_ARCHITECTURE}.rope.freq_base"
    if ratio == 1.0:
        return {base_key: f32(10000.0)}, ""
    if scales_base:
        return {base_key: f32(10000.0 * ratio)}, f" (rotary base x {ratio:g})"
    return {
        base_key: f32(10000.0),
        f"{_ARCHITECTURE}.rope.scaling.type": text("linear"),
        f"{_ARCHITECTURE}.rope.scaling.factor": f32(ratio),
    }, f" (interpolated by {ratio:g})"


def _logn_attention(folder: ModelFolder, variant: Variant, asked: str) -> tuple[bool, str]:
    """Recognise ChatGLM3-6B-128K, which scales queries by the logarithm of their position.

    Its configuration does not say so, only its code does.
    """
    if asked != "auto":
        return asked == "on", "as asked for"
    code = _code_only(folder.python_text("modeling_*.py"))
    if code:
        found = bool(re.search(r"\blog_?n\b|\blog\w*\(.*\b2048\b", code))
        return found, f"modeling code {'has' if found else 'without'} it"
    config = folder.config
    identity = (
        variant.model_type == "chatglm3"
        and config.number("rope_ratio", 1.0) == 500
        and config.get("seq_length") == 131072
    )
    return identity, f"{'has' if identity else 'not'} ChatGLM3-6B-128K's rope_ratio and length"


def _code_only(source: str) -> str:
    """Drop the comments and docstrings of a Python text."""
    return re.sub(r'"""(?s:.*?)"""|#.*', "", source)


# Keys of our own, and the vocabulary.


def _own_metadata(
    folder: ModelFolder, variant: Variant, sentencepiece: SentencePieceModel, logn: bool
) -> Metadata:
    eos_ids = [] if sentencepiece.eos_id is None else [sentencepiece.eos_id]
    if variant.chat_format != "none":
        eos_ids += [
            _special_id(variant, sentencepiece, name) for name in ("<|user|>", "<|observation|>")
        ]
    if not eos_ids:
        raise ConversionError(f"{folder.path}: tokenizer.model has no end-of-text piece")
    is_128k = variant.chat_format == "chatglm3" and folder.config.get("seq_length") == 131072
    return {
        "chatglm_cpp.model_type": text(variant.model_type),
        "chatglm_cpp.chat_format": text(variant.chat_format),
        "chatglm_cpp.eos_token_ids": integers(eos_ids),
        "chatglm_cpp.attention.logn": boolean(logn),
        # What the official model.chat() samples with where the caller does not say.
        "chatglm_cpp.default_temperature": f32(0.95 if is_128k else 0.8),
        "chatglm_cpp.default_top_p": f32(0.7 if is_128k else 0.8),
    }


def _vocabulary_metadata(
    folder: ModelFolder, variant: Variant, sentencepiece: SentencePieceModel, shape: _Shape
) -> Metadata:
    needed = len(sentencepiece.pieces) + len(variant.special_tokens)
    if needed > shape.vocabulary:
        raise ConversionError(
            f"{folder.path}: tokenizer.model and the special tokens need {needed} ids, but "
            f"config.json's padded_vocab_size is {shape.vocabulary}"
        )
    keys = tokenizer_metadata(
        sentencepiece, variant.special_tokens, shape.vocabulary, "chatglm-spm"
    )
    if variant.chat_format != "none":
        # llama.cpp stops at these two besides the end of text: a finished turn and a tool call.
        for key, name in (("eot", "<|user|>"), ("eom", "<|observation|>")):
            special_id = _special_id(variant, sentencepiece, name)
            keys[f"tokenizer.ggml.{key}_token_id"] = u32(special_id)
        keys["tokenizer.chat_template"] = text(_CHAT_TEMPLATE)
    return keys


def _special_id(variant: Variant, sentencepiece: SentencePieceModel, name: str) -> int:
    return len(sentencepiece.pieces) + variant.special_tokens.index(name)
