"""The networks of the forecasting presets as a PyTorch user would write them, with their losses and optimizers.

Layers, sizes, loss, optimizer, clipping and averaging of weights are those of `conf/experiment/`. There is no recurrent
dropout, since `nn.GRU` has none.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from contestants import PRESETS, Runner, batch_of
from torch import nn
from torch.nn import functional as F
from torch.optim import swa_utils

MIXING, DROPOUT = 64, 0.3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The least standard deviation of a window.
LEAST_STD = 0.01


def gelu(values: torch.Tensor) -> torch.Tensor:
    """Its approximation by a hyperbolic tangent, as ours."""
    return F.gelu(values, approximate="tanh")


class Embedding(nn.Module):
    """`(batch, columns, n)` to `(batch, columns, units)`: common weights, and biases for each column."""

    def __init__(self, columns: int, n: int, units: int):
        super().__init__()
        self.dense = nn.Linear(n, units, bias=False)
        self.bias = nn.Parameter(torch.zeros(columns, units))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.dense(features) + self.bias


class Mixing(nn.Module):
    """Adds to `(batch, columns, n)` what the columns say together; nothing before training."""

    def __init__(self, columns: int):
        super().__init__()
        self.inside, self.outside = nn.Linear(columns, MIXING), nn.Linear(MIXING, columns)
        nn.init.zeros_(self.outside.weight)
        nn.init.zeros_(self.outside.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        hidden = F.dropout(gelu(self.inside(features.mT)), DROPOUT, self.training)
        return features + self.outside(hidden).mT


class ColumnOutputs(nn.Module):
    """`(batch, columns, n)` to `(batch, columns, leads)`, with weights for each column."""

    def __init__(self, columns: int, n: int, leads: int):
        super().__init__()
        bound = 1 / math.sqrt(n)
        self.weight = nn.Parameter(torch.empty(columns, n, leads).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(columns, leads))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return torch.einsum("bcn,cnl->bcl", features, self.weight) + self.bias


class MLP(nn.Module):
    """Residual dense layers over the whole window of a column."""

    units = 128

    def __init__(self, columns: int, time: int):
        super().__init__()
        self.embedding = Embedding(columns, time, self.units)
        self.dense = nn.ModuleList(nn.Linear(self.units, self.units) for _ in range(2))
        self.mixing = Mixing(columns)

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """From `(batch, columns, time)` to `(batch, columns, units)`."""
        features = self.embedding(columns)
        features = features + self.dense[0](F.dropout(gelu(features), DROPOUT, self.training))
        features = self.mixing(features)
        return features + self.dense[1](F.dropout(gelu(features), DROPOUT, self.training))


class PatchCNN(nn.Module):
    """Depthwise convolutions over segments of 12 time steps of each column."""

    units, segment, channels, kernel_size = 128, 12, 16, 9

    def __init__(self, columns: int, time: int):
        super().__init__()
        channels, kernel = self.channels, self.kernel_size
        self.segments = nn.Linear(self.segment, channels)
        self.depthwise = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding="same", groups=channels) for _ in range(2)
        )
        self.pointwise = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(2))
        self.embedding = Embedding(columns, time // self.segment * channels, self.units)

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """From `(batch, columns, time)` to `(batch, columns, units)`."""
        batch, count, time = columns.shape
        parts = columns.reshape(batch * count, time // self.segment, self.segment)
        sequence = F.relu(self.segments(parts)).mT
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            sequence = sequence + gelu(pointwise(depthwise(sequence)))
        features = F.dropout(sequence.reshape(batch, count, -1), DROPOUT, self.training)
        return self.embedding(features)


class SegmentGRU(nn.Module):
    """A GRU over segments of 24 time steps of each column."""

    units, segment = 64, 24

    def __init__(self, columns: int, time: int):
        super().__init__()
        self.segments = nn.Linear(self.segment, self.units)
        self.gru = nn.GRU(self.units, self.units, batch_first=True)
        self.embedding = Embedding(columns, self.units, self.units)

    def forward(self, columns: torch.Tensor) -> torch.Tensor:
        """From `(batch, columns, time)` to `(batch, columns, units)`."""
        batch, count, time = columns.shape
        parts = columns.reshape(batch * count, time // self.segment, self.segment)
        _, state = self.gru(F.relu(self.segments(parts)))
        return self.embedding(state.reshape(batch, count, self.units))


ENCODERS = {
    "weather_96": MLP,
    "weather_192": MLP,
    "weather_336": MLP,
    "weather_720": MLP,
    "weather_96_conv": PatchCNN,
    "weather_96_gru": SegmentGRU,
}


class Forecaster(nn.Module):
    """A Weather preset: an encoder of normalized columns, their mixing, and a linear forecast beside it."""

    def __init__(self, work: str):
        super().__init__()
        shapes = PRESETS[work]
        columns, time, leads = shapes.features, shapes.time, shapes.leads
        self.encoder = ENCODERS[work](columns, time)
        self.mixing = Mixing(columns)
        self.output = ColumnOutputs(columns, self.encoder.units, leads)
        self.linear = ColumnOutputs(columns, time, leads)
        nn.init.zeros_(self.linear.weight)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From `(batch, time, columns)` to `(batch, leads, columns)`."""
        columns = inputs.mT
        newest = columns[:, :, -1:]
        std = torch.sqrt(columns.var(2, correction=0, keepdim=True) + LEAST_STD**2)
        seen = (columns - newest) / std
        features = gelu(self.mixing(self.encoder(seen)))
        deep = self.output(F.dropout(features, DROPOUT, self.training))
        straight = self.linear(seen)
        if self.training:  # Each is trained alone, on samples drawn for it.
            outputs = torch.where(
                torch.rand(len(inputs), 1, 1, device=inputs.device) < 0.5, deep, straight
            )
        else:
            outputs = (deep + straight) / 2
        return (outputs * std + newest).mT


class JenaGRU(nn.Module):
    """The preset `jena_24h`: a GRU whose inputs are dropped, the same ones at every time step."""

    def __init__(self, features: int):
        super().__init__()
        self.gru = nn.GRU(features, 64, batch_first=True)
        self.output = nn.Linear(64, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From `(batch, time, features)` to `(batch, 1, 1)`."""
        _, state = self.gru(F.dropout1d(inputs.mT, DROPOUT, self.training).mT)
        return self.output(state).transpose(0, 1)


def preset_step(work: str) -> tuple[Runner, dict[str, Any]]:
    """One training step of a preset, which returns the loss, and the number of its parameters."""
    jena = work == "jena_24h"
    model = JenaGRU(PRESETS[work].features) if jena else Forecaster(work)
    model.to(DEVICE)
    average = None
    if jena:
        clip_norm = 1.0
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-7, weight_decay=1e-2)
    else:
        clip_norm = 10.0
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
        average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.99))
    loss_function = nn.L1Loss()
    inputs, targets = (torch.from_numpy(array) for array in batch_of(work))

    def run() -> float:
        optimizer.zero_grad()
        loss = loss_function(model(inputs.to(DEVICE)), targets.to(DEVICE))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        if average is not None:
            average.update_parameters(model)
        return loss.item()

    return run, {"parameters": sum(p.numel() for p in model.parameters())}
