"""Time transformers' GlmForCausalLM in bf16, of ChatGLM3-6B's shape with random weights, on a GPU.

The other side of ``gpu_check.sh``'s table, with what torch reaches in a matrix product and a copy
on the same GPU. Needs torch with CUDA and transformers; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

DECODED = 64
BATCHES = (1, 8, 64)
PROMPTS = (512, 2048, 8192)
DEVICE = "cuda"


def seconds(work: Callable[[], object], repetitions: int = 3) -> float:
    """Return the median time of `work`, which is run once before."""
    times = []
    for repetition in range(repetitions + 1):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if repetition > 0:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def matrix_rate() -> float:
    """Return the operations a second of a large bf16 product."""
    size = 8192
    a = torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16)
    b = torch.randn(size, size, device=DEVICE, dtype=torch.bfloat16)
    out = torch.empty(size, size, device=DEVICE, dtype=torch.bfloat16)
    rounds = 20

    def multiply() -> None:
        for _ in range(rounds):
            torch.matmul(a, b, out=out)

    return 2.0 * size**3 * rounds / seconds(multiply)


def copy_rate() -> float:
    """Return the bytes read and written a second of a large copy."""
    source = torch.empty(1 << 29, device=DEVICE, dtype=torch.uint8)
    target = torch.empty_like(source)
    rounds = 20

    def copy() -> None:
        for _ in range(rounds):
            target.copy_(source)

    return 2.0 * float(source.numel()) * rounds / seconds(copy)


def make_model() -> Any:
    """Return the model with whatever weights it begins with."""
    config = transformers.GlmConfig(
        vocab_size=65024,
        hidden_size=4096,
        intermediate_size=13696,
        num_hidden_layers=28,
        num_attention_heads=32,
        num_key_value_heads=2,
        head_dim=128,
        attention_bias=True,
        max_position_embeddings=32768,
        pad_token_id=0,
        eos_token_id=2,
    )
    with torch.device(DEVICE):
        torch.set_default_dtype(torch.bfloat16)
        model = transformers.GlmForCausalLM(config)
    return model.eval()


def read_prompt(model: Any, ids: Any) -> None:
    """Compute a prompt and its last token's logits."""
    model(ids, use_cache=True, logits_to_keep=1)


def decode(model: Any, ids: Any) -> None:
    """Compute tokens one after the other, each with all those before it."""
    cache = transformers.DynamicCache()
    for _ in range(DECODED):
        model(ids, past_key_values=cache, use_cache=True)


def rows(model: Any) -> list[dict[str, Any]]:
    """Return the same tests as chatglm-bench runs, by its names."""
    measured = []
    for prompt in PROMPTS:
        ids = torch.randint(0, 65024, (1, prompt), device=DEVICE)
        taken = seconds(partial(read_prompt, model, ids))
        measured.append({"test": f"pp{prompt}", "tokens_per_second": prompt / taken})
    for batch in BATCHES:
        ids = torch.randint(0, 65024, (batch, 1), device=DEVICE)
        taken = seconds(partial(decode, model, ids))
        name = f"tg{DECODED}" + (f" x{batch}" if batch > 1 else "")
        measured.append({"test": name, "tokens_per_second": batch * DECODED / taken})
    return measured


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    with torch.inference_mode():
        measured = rows(make_model())
    report = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "bf16_flops_per_second": matrix_rate(),
        "copy_bytes_per_second": copy_rate(),
        "rows": measured,
    }
    options.output.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
