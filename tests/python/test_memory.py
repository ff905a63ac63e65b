"""Peak memory of loading and running a model, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chatglm_cpp.convert import convert
from tiny_checkpoint import TinyModel, write_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

# The peak of this very process: getrusage would also count its parent's, before exec.
PROGRAM = """
import sys
import chatglm_cpp

def peak_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

before = peak_bytes()
pipeline = chatglm_cpp.Pipeline(sys.argv[1], num_threads=2)
loaded = peak_bytes() - before
pipeline.model.logits([1, 2, 3])
print(loaded, peak_bytes() - before)
"""

# What does not grow with the weights: tokenizer, buffers of the forward pass, allocator slack.
FIXED_BYTES = 12 << 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 90 million weights; a context of 128K tokens, whose cache would be far larger."""
    model = TinyModel(
        hidden_size=1024,
        kv_channels=128,
        num_attention_heads=8,
        multi_query_group_num=2,
        ffn_hidden_size=2752,
        num_layers=8,
        seq_length=131072,
    )
    return write_folder(
        tmp_path_factory.mktemp("memory") / "checkpoint", model, model.weights(None)
    )


@pytest.mark.parametrize("dtype", ["q4_0", "q8_0", "f16"])
def test_loading_takes_one_copy_of_the_weights(
    checkpoint: Path, tmp_path: Path, dtype: str
) -> None:
    file = convert(checkpoint, tmp_path / "model.gguf", dtype, progress=False)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    file_bytes = file.stat().st_size
    loaded, used = map(int, result.stdout.split())
    assert file_bytes > 3 * FIXED_BYTES  # otherwise the bounds would say nothing
    assert loaded < 1.15 * file_bytes + FIXED_BYTES, (loaded, file_bytes)
    assert used < 1.15 * file_bytes + 2 * FIXED_BYTES, (used, file_bytes)
