"""Muon for the matrices of the layers, AdamW for everything else.

Muon replaces a matrix's momentum by the nearest orthogonal matrix (Keller Jordan's Newton-Schulz
iteration). It learns from far fewer tokens than AdamW, which is what a CPU can give.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model import ChatGLM3


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Push the singular values of a stack of matrices (n, rows, columns) towards 1."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Optimizer:
    """Both optimizers behind one learning-rate factor; the work of Muon is shared by all ranks."""

    def __init__(self, model: ChatGLM3, muon_rate: float, adam_rate: float) -> None:
        self.muon_rate = muon_rate
        self.adam_rate = adam_rate
        self.matrices = [p for p in model.transformer.encoder.layers.parameters() if p.ndim == 2]
        self.momenta = [torch.zeros_like(p) for p in self.matrices]
        in_muon = {id(p) for p in self.matrices}
        others: list[nn.Parameter] = [p for p in model.parameters() if id(p) not in in_muon]
        self.adam = torch.optim.AdamW(
            others, lr=adam_rate, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0
        )

    @torch.no_grad()
    def step(self, factor: float, momentum: float = 0.95, decay: float = 0.05) -> None:
        """Update with the learning rates times ``factor``."""
        for group in self.adam.param_groups:
            group["lr"] = self.adam_rate * factor
        self.adam.step()
        rank, world = dist.get_rank(), dist.get_world_size()
        shapes = sorted({tuple(p.shape) for p in self.matrices})
        updates = [torch.zeros_like(p) for p in self.matrices]
        for shape in shapes:
            all_of_shape = [i for i, p in enumerate(self.matrices) if tuple(p.shape) == shape]
            mine = all_of_shape[rank::world]
            for index in all_of_shape:
                gradient = self.matrices[index].grad
                self.momenta[index].lerp_(gradient, 1 - momentum)
            if mine:
                nesterov = torch.stack(
                    [self.matrices[i].grad.lerp(self.momenta[i], momentum) for i in mine]
                )
                for index, update in zip(mine, orthogonalise(nesterov), strict=True):
                    updates[index].copy_(update)
        flat = torch.cat([update.flatten() for update in updates])
        dist.all_reduce(flat)
        rate = self.muon_rate * factor
        for parameter, update in zip(
            self.matrices, flat.split([p.numel() for p in self.matrices]), strict=True
        ):
            scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
            parameter.mul_(1 - rate * decay)
            parameter.add_(update.view_as(parameter), alpha=-rate * scale)

    def state_dict(self) -> dict[str, object]:
        return {"adam": self.adam.state_dict(), "momenta": self.momenta}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.adam.load_state_dict(state["adam"])
        self.momenta = list(state["momenta"])
