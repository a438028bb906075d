"""PyTorch as a contestant, in an environment of its own; no recurrent dropout, since its layers have none."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from contestants import BATCH, COLUMNS, PRESETS, Runner, batch_of, many_windows, serve, ten_times
from torch import nn
from torch.nn import functional as F
from torch_presets import preset_step

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = {
    # features, kernel, pool, convolutions, dropout in front of the recurrence (None: global maximum instead)
    "conv1d": (COLUMNS, 5, 3, 3, None),
    "conv_gru": (COLUMNS, 5, 3, 2, 0.1),
    "gru": (COLUMNS, 5, 3, 0, 0.2),
    "lstm": (COLUMNS, 5, 3, 0, 0.2),
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
        recurrence = nn.LSTM if work == "lstm" else nn.GRU
        self.recurrence = None
        if self.dropout is not None:
            self.recurrence = recurrence(sizes[-1], 32, batch_first=True)
        self.output = nn.Linear(32, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From `(batch, time, features)` or `(batch, time)` tokens to `(batch, 1)`."""
        sequence = self.embedding(inputs).transpose(1, 2)
        for index, convolution in enumerate(self.convolutions):
            if index:
                sequence = F.max_pool1d(sequence, self.pool)
            sequence = F.relu(convolution(sequence))
        if self.recurrence is None:
            return self.output(sequence.amax(2))
        states, _ = self.recurrence(
            F.dropout(sequence.transpose(1, 2), self.dropout, self.training)
        )
        return self.output(states[:, -1])


class Windows(torch.utils.data.Dataset):
    """Windows for a `DataLoader`: one slice each."""

    def __init__(self) -> None:
        self.data = torch.randn(200_000, COLUMNS)

    def __len__(self) -> int:
        return len(self.data) - 864

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.data[index : index + 720 : 3], self.data[index + 864, 1]


def predictions(work: str) -> Runner:
    """Forecasts of many windows, 512 at a time."""
    model = Model(work).to(DEVICE).eval()
    windows = torch.from_numpy(many_windows())

    def run() -> None:
        with torch.inference_mode():
            for part in windows.split(512):
                model(part.to(DEVICE)).cpu()

    return run


def make(work: str) -> tuple[Runner, dict[str, Any]]:
    """One training step, or one batch of windows."""
    torch.set_num_threads(2)
    facts: dict[str, Any] = {"version": torch.__version__, "device": DEVICE}
    if work == "windows":
        loader = torch.utils.data.DataLoader(Windows(), batch_size=BATCH, shuffle=True)
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        return ten_times(lambda: next(batches)), facts
    if work in PRESETS:
        run, found = preset_step(work)
        return run, facts | found
    kind, _, name = work.partition("/")
    if kind == "predict":
        return predictions(name), facts
    model = Model(work).to(DEVICE)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9)
    loss_function = nn.BCEWithLogitsLoss() if work == "conv1d_imdb" else nn.L1Loss()
    inputs, targets = (torch.from_numpy(array) for array in batch_of(work))
    inputs = inputs.long() if work == "conv1d_imdb" else inputs

    def run() -> float:
        optimizer.zero_grad()
        loss = loss_function(model(inputs.to(DEVICE)), targets.to(DEVICE))
        loss.backward()
        optimizer.step()
        return loss.item()

    # PyTorch's LSTM has two biases whose sum counts; everybody else has one.
    twice = "bias_hh" if work == "lstm" else "nothing"
    counted = [p.numel() for name, p in model.named_parameters() if twice not in name]
    return run, facts | {"parameters": sum(counted)}


if __name__ == "__main__":
    serve(make)
