"""Write a training checkpoint as a Hugging Face folder with the official names, in float16."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import ModelConfig


def config_json(config: ModelConfig) -> dict[str, object]:
    """All keys of the official ``config.json`` of ChatGLM3-6B, with our sizes."""
    module = "modeling_chatglm.ChatGLMForConditionalGeneration"
    return {
        "_name_or_path": "chatglm_cpp/chatglm3-demo",
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "auto_map": {
            "AutoConfig": "configuration_chatglm.ChatGLMConfig",
            "AutoModel": module,
            "AutoModelForCausalLM": module,
            "AutoModelForSeq2SeqLM": module,
        },
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False,
        "attention_dropout": 0.0,
        "attention_softmax_in_fp32": True,
        "bias_dropout_fusion": True,
        "ffn_hidden_size": config.ffn_hidden_size,
        "fp32_residual_connection": False,
        "hidden_dropout": 0.0,
        "hidden_size": config.hidden_size,
        "kv_channels": config.kv_channels,
        "layernorm_epsilon": config.layernorm_epsilon,
        "multi_query_attention": True,
        "multi_query_group_num": config.multi_query_group_num,
        "num_attention_heads": config.num_attention_heads,
        "num_layers": config.num_layers,
        "original_rope": True,
        "padded_vocab_size": config.padded_vocab_size,
        "post_layer_norm": True,
        "rmsnorm": True,
        "seq_length": config.seq_length,
        "use_cache": True,
        "torch_dtype": "float16",
        "transformers_version": "4.30.2",
        "tie_word_embeddings": False,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


TOKENIZER_CONFIG = {
    "name_or_path": "chatglm_cpp/chatglm3-demo",
    "remove_space": False,
    "do_lower_case": False,
    "tokenizer_class": "ChatGLMTokenizer",
    "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    state = torch.load(options.checkpoint, weights_only=True, map_location="cpu")
    config = ModelConfig(**state["config"])
    tensors = {name: t.half().contiguous() for name, t in state["model"].items()}
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise ValueError(f"{options.checkpoint}: a weight does not fit into float16")
    rotated = config.kv_channels // 2
    inv_freq = 10000.0 ** (-torch.arange(0, rotated, 2).float() / rotated)
    tensors["transformer.rotary_pos_emb.inv_freq"] = inv_freq.half()

    options.out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.out / "model.safetensors", metadata={"format": "pt"})
    for name, content in (
        ("config.json", config_json(config)),
        ("tokenizer_config.json", TOKENIZER_CONFIG),
    ):
        (options.out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(options.tokenizer, options.out / "tokenizer.model")
    count = sum(t.numel() for name, t in tensors.items() if "inv_freq" not in name)
    print(json.dumps({"parameters": count, "progress": state["progress"]}))


if __name__ == "__main__":
    main()
