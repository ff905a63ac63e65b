"""Train the demo model on CPU: one single-threaded process a core, gradients averaged by gloo.

    torchrun --standalone --nproc-per-node 2 train.py --out RUN_FOLDER --tokenizer tokenizer.model

Every step draws its own data from (seed, step, rank), so nothing is seen twice and a run that was
stopped continues from its last checkpoint exactly as if it had not been.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from data import plain_text
from data.common import Exchange
from data.mixture import MIXES, Mix, conversation
from model import ChatGLM3, ModelConfig
from optimizer import Optimizer
from tokenizer import ChatTokenizer

# What the user writes still teaches the language, but weighs little.
ROLE_WEIGHTS = {"assistant": 1.0, "user": 0.1, "observation": 0.1, "system": 0.0}
TEXT_WEIGHT = 0.5
# What the published model was trained with.
MIX_SCHEDULE = "full@0,dense@400,full@680"


@dataclass
class Sample:
    """Token ids, and for each the weight of predicting it."""

    ids: list[int]
    weights: list[float]


def encode_conversation(tokenizer: ChatTokenizer, messages: Exchange) -> Sample:
    """The assistant's turns count fully, with the role token that ends each of them."""
    ids = list(tokenizer.prefix)
    weights = [0.0] * len(ids)
    previous_role = ""
    for message in messages:
        body = tokenizer.body(message)
        ids += [tokenizer.role(message.role), *body]
        weights += [1.0 if previous_role == "assistant" else 0.0]
        weights += [ROLE_WEIGHTS[message.role]] * len(body)
        previous_role = message.role
    return Sample([*ids, tokenizer.role("user")], [*weights, 1.0])


def encode_text(tokenizer: ChatTokenizer, text: str, is_complete: bool) -> Sample:
    """Plain text after the same prefix; the end token only where the text really ends."""
    body = tokenizer.encode(text) + ([tokenizer.eos] if is_complete else [])
    return Sample(
        tokenizer.prefix + body, [0.0] * len(tokenizer.prefix) + [TEXT_WEIGHT] * len(body)
    )


def mix_at(step: int, schedule: str) -> Mix:
    """The mix that a schedule such as ``full@0,dense@400`` gives for a step."""
    starts = {int(start): name for name, start in (item.split("@") for item in schedule.split(","))}
    return MIXES[starts[max(start for start in starts if start <= step)]]


class Batches:
    """Draws the samples of a step."""

    def __init__(
        self, tokenizer: ChatTokenizer, paragraphs: list[str], options: argparse.Namespace
    ) -> None:
        self.tokenizer = tokenizer
        self.paragraphs = paragraphs
        self.options = options

    def draw(self, rng: Random, mix: Mix) -> Sample:
        messages = conversation(rng, mix)
        if messages is None:
            sample = encode_text(self.tokenizer, *plain_text.text(rng, self.paragraphs))
        else:
            sample = encode_conversation(self.tokenizer, messages)
        limit = self.options.max_tokens + 1
        return Sample(sample.ids[:limit], sample.weights[:limit])

    def step(self, step: int, rank: int) -> Iterator[list[Sample]]:
        """The micro-batches of one step of one process."""
        rng = Random(f"{self.options.seed}/{step}/{rank}")
        mix = mix_at(step, self.options.mixes)
        micro_batch: list[Sample] = []
        drawn = 0
        while drawn < self.options.step_tokens:
            sample = self.draw(rng, mix)
            drawn += len(sample.ids)
            micro_batch.append(sample)
            if sum(len(s.ids) for s in micro_batch) >= self.options.micro_tokens:
                yield micro_batch
                micro_batch = []
        if micro_batch:
            yield micro_batch


def pack(samples: list[Sample]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """One row of inputs, targets and weights, and the lengths of the sequences in it."""
    inputs = [i for sample in samples for i in sample.ids[:-1]]
    targets = [i for sample in samples for i in sample.ids[1:]]
    weights = [w for sample in samples for w in sample.weights[1:]]
    lengths = [len(sample.ids) - 1 for sample in samples]
    return torch.tensor([inputs]), torch.tensor([targets]), torch.tensor([weights]), lengths


def rate_factor(step: int, options: argparse.Namespace) -> float:
    """Linear warm-up, then constant, then linear decay to (almost) zero from ``decay_start``."""
    if step < options.warmup:
        return (step + 1) / options.warmup
    if step < options.decay_start:
        return 1.0
    return max(0.01, (options.steps - step) / (options.steps - options.decay_start))


def save(path: Path, model: ChatGLM3, optimizer: Optimizer, progress: dict[str, float]) -> None:
    """Write a checkpoint; a broken write leaves the previous one in place."""
    temporary = path.with_suffix(".tmp")
    torch.save(
        {
            "config": asdict(model.config),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": progress,
        },
        temporary,
    )
    temporary.replace(path)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--text-root", type=Path, default=Path("/"), help="see data/plain_text.py")
    parser.add_argument(
        "--mixes",
        default=MIX_SCHEDULE,
        help="which mix of data/mixture.py holds from which step on",
    )
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--stop-at", type=int, help="stop earlier, to go on with other options")
    parser.add_argument("--warmup", type=int, default=40)
    parser.add_argument("--decay-start", type=int, default=550)
    parser.add_argument("--step-tokens", type=int, default=1800, help="per process")
    parser.add_argument("--micro-tokens", type=int, default=1800)
    parser.add_argument("--max-tokens", type=int, default=1280)
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=4e-3)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ffn", type=int, default=512)
    parser.add_argument("--save-every", type=int, default=50)
    return parser.parse_args()


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = ChatTokenizer(options.tokenizer)
    config = ModelConfig(
        hidden_size=options.hidden,
        num_attention_heads=options.hidden // 64,
        num_layers=options.layers,
        ffn_hidden_size=options.ffn,
        padded_vocab_size=tokenizer.padded_vocab_size,
    )
    model = ChatGLM3(config)
    model.initialise(torch.Generator().manual_seed(options.seed))
    optimizer = Optimizer(model, options.muon_rate, options.adam_rate)
    checkpoint = options.out / "checkpoint.pt"
    progress = {"step": 0, "tokens": 0, "seconds": 0.0}
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        progress = state["progress"]
    batches = Batches(tokenizer, plain_text.load_handbook(options.text_root), options)
    parameters = list(model.parameters())
    if rank == 0:
        described = {key: str(value) for key, value in vars(options).items()}
        size = sum(p.numel() for p in parameters)
        print(json.dumps({"parameters": size, "from_step": progress["step"], **described}))

    last_step = options.stop_at or options.steps
    for step in range(int(progress["step"]), last_step):
        started = time.monotonic()
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        micro_batches = [pack(samples) for samples in batches.step(step, rank)]
        total = sum(float(weights.sum()) for _, _, weights, _ in micro_batches)
        # Summed over the ranks: weighted loss, loss and number of the assistant's tokens, tokens.
        sums = torch.zeros(4)
        for inputs, targets, weights, lengths in micro_batches:
            chosen = weights > 0
            hidden, _ = model(inputs, lengths=lengths)
            losses = F.cross_entropy(
                model.logits(hidden[chosen]), targets[chosen], reduction="none"
            )
            loss = (losses * weights[chosen]).sum() / total
            loss.backward()
            answers = weights[chosen] == 1
            sums += torch.tensor(
                [loss.item(), losses[answers].sum().item(), answers.sum(), chosen.sum()]
            )
        flat = torch.cat([p.grad.flatten() for p in parameters])
        dist.all_reduce(flat)
        dist.all_reduce(sums)
        flat /= world
        norm = float(flat.norm())
        flat *= min(1.0, 1.0 / (norm + 1e-6))
        for parameter, gradient in zip(
            parameters, flat.split([p.numel() for p in parameters]), strict=True
        ):
            parameter.grad = gradient.view_as(parameter)
        optimizer.step(rate_factor(step, options))

        progress["step"] = step + 1
        progress["tokens"] += int(sums[3])
        progress["seconds"] += time.monotonic() - started
        if rank == 0:
            report = {
                "step": step + 1,
                "loss": round(float(sums[0]) / world, 4),
                "answer_loss": round(float(sums[1] / sums[2]), 4),
                "norm": round(norm, 2),
                "rate": round(rate_factor(step, options), 3),
                "tokens": progress["tokens"],
                "minutes": round(progress["seconds"] / 60, 2),
            }
            print(json.dumps(report), flush=True)
            if (step + 1) % options.save_every == 0 or step + 1 == last_step:
                save(checkpoint, model, optimizer, progress)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
