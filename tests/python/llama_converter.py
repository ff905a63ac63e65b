"""Writes the file that llama.cpp's own converter makes of a ChatGLM3 checkpoint.

That converter needs torch and runs the checkpoint's Python code; this one writes the same keys and
tensors (llama.cpp's conversion/chatglm.py, 2025) from a tiny checkpoint's parts.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tiny_checkpoint import Tensors, TinyModel, decode, sentencepiece_pieces

_SPECIAL = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"]
_ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
_TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}[gMASK]sop<|{{ message['role'] }}|> \n "
    "{{ message['content'] }}{% else %}<|{{ message['role'] }}|> \n {{ message['content'] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_llama_cpp_file(path: Path, model: TinyModel, tensors: Tensors) -> None:
    writer = gguf.GGUFWriter(path, "chatglm")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("Chatglm3 6b")
    writer.add_size_label("6B")
    writer.add_context_length(model.seq_length)
    writer.add_embedding_length(model.hidden_size)
    writer.add_feed_forward_length(model.ffn_hidden_size)
    writer.add_block_count(model.num_layers)
    writer.add_head_count(model.num_attention_heads)
    writer.add_head_count_kv(model.multi_query_group_num)
    writer.add_layer_norm_rms_eps(model.layernorm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_rope_dimension_count(model.hidden_size // model.num_attention_heads // 2)
    writer.add_add_bos_token(False)
    writer.add_rope_freq_base(10000 * model.rope_ratio)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_vocabulary(writer, model.padded_vocab_size)

    mapping = gguf.get_tensor_name_map(gguf.MODEL_ARCH.CHATGLM, model.num_layers)
    for name, tensor in tensors.items():
        if "inv_freq" in name:
            continue
        target = mapping.get_name(name.removeprefix("transformer."), (".weight", ".bias"))
        assert target is not None
        values = decode(tensor)
        writer.add_tensor(target, values.astype(np.float16) if values.ndim == 2 else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    tokens: list[bytes] = []
    scores: list[float] = []
    types: list[int] = []
    for index, (piece, score, kind) in enumerate(sentencepiece_pieces()):
        # The official tokenizer gives no text for the first three.
        tokens.append({0: "<unk>", 1: "<bos>", 2: "<eos>"}.get(index, piece).encode())
        scores.append(score)
        types.append(kind)
    for name in _SPECIAL + _ROLES:
        tokens.append(name.encode())
        scores.append(0.0)
        types.append(int(gguf.TokenType.CONTROL))
    while len(tokens) < size:
        tokens.append(f"[PAD{len(tokens)}]".encode())
        scores.append(0.0)
        types.append(int(gguf.TokenType.UNUSED))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("chatglm-spm")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(_TEMPLATE)
