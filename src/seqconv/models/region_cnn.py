"""A convolution over one-hot words (Johnson and Zhang, 2015, "Effective use of word order for text categorization")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from seqconv.config.errors import Problem
from seqconv.config.fields import Count, Counts, ModelSection, PaddingRule, Share, float32_only
from seqconv.config.registry import KerasModel, register_model
from seqconv.models.stem import head
from seqconv.tasks.contract import SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class RegionCNNConfig(ModelSection):
    """Keys of `conf/model/region_cnn.yaml`."""

    name: Literal["region_cnn"]
    regions: Counts
    """Tokens of a region; of several sizes each has filters of its own."""
    filters: Count
    """Filters of each size of region."""
    dropout: Share
    """Share of the maxima dropped in training."""

    def problems(self) -> Iterator[Problem]:
        """A size that stands twice."""
        if len(set(self.regions)) < len(self.regions):
            rule = f"must be different sizes; received {list(self.regions)}. Use more `filters`"
            yield Problem("regions", rule)

    def padding_rule(self) -> PaddingRule:
        """Regions of padding alone do not count."""
        return PaddingRule(extra=0, multiple=1)

    def shape_problems(self, spec: SequenceSpec) -> Iterator[Problem]:
        """Only texts have words, and a region is no longer than the longest text."""
        if spec.vocabulary is None:
            rule = "`region_cnn` is a model of texts; received a series. Choose another model"
            yield Problem("name", rule)
        elif max(self.regions) > spec.time:
            rule = f"must be at most max_len={spec.time} tokens; received {list(self.regions)}"
            yield Problem("regions", rule)

    def compile_problems(self) -> Iterator[Problem]:
        """XLA has no search for different rows."""
        rule = "XLA cannot compile the sums of rows of `region_cnn`; received true. Leave it false"
        yield Problem("trainer.jit_compile", rule)

    def precision_problems(self) -> Iterator[Problem]:
        """Tables and their sums are float32."""
        yield float32_only(self.name)

    def export_problems(self, form: str) -> Iterator[Problem]:
        """LiteRT does not loop over slices of a text."""
        if form == "litert":
            rule = "litert cannot loop over parts of a text, as `region_cnn` does"
            yield Problem("--format", f"{rule}; received {form}. Use saved_model or onnx")


# Functional model


@register_model(RegionCNNConfig)
def build(config: RegionCNNConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time)` to `(batch, outputs)`."""
    import keras

    from seqconv.models.layers.regions import RegionMax

    tokens = keras.Input((None,), name="tokens", dtype="int32")
    vocabulary = spec.vocabulary or 0
    parts = [
        RegionMax(size, config.filters, vocabulary, name=f"regions_{size}")(tokens)
        for size in config.regions
    ]
    maxima = keras.layers.Concatenate(name="maxima")(parts) if len(parts) > 1 else parts[0]
    features = keras.layers.Dropout(config.dropout, name="dropout")(maxima)
    return head(tokens, features, spec, config.name)
