"""PyTorch as a contestant, in an environment of its own; no recurrent dropout, since `nn.GRU` has none."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from contestants import BATCH, COLUMNS, Runner, batch_of, serve, ten_times
from torch import nn
from torch.nn import functional as F

SHAPES = {
    # features, kernel, pool, convolutions, dropout in front of the GRU (None: global maximum instead)
    "conv1d": (COLUMNS, 5, 3, 3, None),
    "conv_gru": (COLUMNS, 5, 3, 2, 0.1),
    "gru": (COLUMNS, 5, 3, 0, 0.2),
    "conv1d_imdb": (128, 7, 5, 2, None),
}


class Model(nn.Module):
    """The layers of a work, of the same sizes as everybody's."""

    def __init__(self, work: str):
        super().__init__()
        features, kernel, self.pool, count, self.dropout = SHAPES[work]
        self.embedding = nn.Embedding(10_000, 128) if work == "conv1d_imdb" else nn.Identity()
        sizes = [features] + [32] * count
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, 32, kernel) for size in sizes[:-1] if count
        )
        self.gru = nn.GRU(sizes[-1], 32, batch_first=True) if "gru" in work else None
        self.output = nn.Linear(32, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From `(batch, time, features)` or `(batch, time)` tokens to `(batch, 1)`."""
        sequence = self.embedding(inputs).transpose(1, 2)
        for index, convolution in enumerate(self.convolutions):
            if index:
                sequence = F.max_pool1d(sequence, self.pool)
            sequence = F.relu(convolution(sequence))
        if self.gru is None:
            return self.output(sequence.amax(2))
        states, _ = self.gru(F.dropout(sequence.transpose(1, 2), self.dropout))
        return self.output(states[:, -1])


class Windows(torch.utils.data.Dataset):
    """Windows for a `DataLoader`: one slice each."""

    def __init__(self) -> None:
        self.data = torch.randn(200_000, COLUMNS)

    def __len__(self) -> int:
        return len(self.data) - 864

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.data[index : index + 720 : 3], self.data[index + 864, 1]


def make(work: str) -> tuple[Runner, dict[str, Any]]:
    """One training step, or one batch of windows."""
    torch.set_num_threads(2)
    facts: dict[str, Any] = {"version": torch.__version__}
    if work == "windows":
        loader = torch.utils.data.DataLoader(Windows(), batch_size=BATCH, shuffle=True)
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        return ten_times(lambda: next(batches)), facts
    model = Model(work)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9)
    loss_function = nn.BCEWithLogitsLoss() if work == "conv1d_imdb" else nn.L1Loss()
    inputs, targets = (torch.from_numpy(array) for array in batch_of(work))
    inputs = inputs.long() if work == "conv1d_imdb" else inputs

    def run() -> float:
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run, facts | {"parameters": sum(p.numel() for p in model.parameters())}


if __name__ == "__main__":
    serve(make)
