"""N-grams and regions of words in one model, whose parts are trained apart and averaged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from seqconv.config.errors import Problem
from seqconv.config.fields import Fraction, ModelSection, PaddingRule, float32_only
from seqconv.config.registry import KerasModel, register_model
from seqconv.models import nbow, region_cnn
from seqconv.models.nbow import NBowConfig
from seqconv.models.region_cnn import RegionCNNConfig
from seqconv.tasks.contract import Samples, SequenceSpec

# Config


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinedConfig(ModelSection):
    """Keys of `conf/model/joined.yaml`."""

    name: Literal["joined"]
    nbow: NBowConfig
    phrases: NBowConfig | None
    """More n-grams, weighted apart from the others; None: none."""
    region_cnn: RegionCNNConfig
    cnn_share: Fraction
    """Share of the convolution in the average; the rest is that of the n-grams."""

    @property
    def ngrams(self) -> dict[str, NBowConfig]:
        """The models of n-grams by name."""
        named = {"nbow": self.nbow, "phrases": self.phrases}
        return {name: part for name, part in named.items() if part is not None}

    def problems(self) -> Iterator[Problem]:
        """What is wrong inside the parts."""
        for name, part in {**self.ngrams, "region_cnn": self.region_cnn}.items():
            for problem in part.problems():
                yield Problem(f"{name}.{problem.key}", problem.message)

    def padding_rule(self) -> PaddingRule:
        """No part reads padding."""
        return PaddingRule(extra=0, multiple=1)

    def shape_problems(self, spec: SequenceSpec) -> Iterator[Problem]:
        """Only texts have words; what the parts say; and whether the n-grams of all fit into memory."""
        if spec.vocabulary is None:
            rule = "`joined` is a model of texts; received a series. Choose another model"
            yield Problem("name", rule)
            return
        found = {name: part.token_problems(spec) for name, part in self.ngrams.items()}
        found["region_cnn"] = self.region_cnn.shape_problems(spec)
        for name, problems in found.items():
            for problem in problems:
                yield Problem(f"{name}.{problem.key}", problem.message)
        rooms = {f"{name}.max_ngrams": part.max_ngrams for name, part in self.ngrams.items()}
        yield from nbow.memory_problems(rooms, spec.outputs[0])

    def compile_problems(self) -> Iterator[Problem]:
        """Problems of the convolution."""
        yield from self.region_cnn.compile_problems()

    def precision_problems(self) -> Iterator[Problem]:
        """Tables and their sums are float32."""
        yield float32_only(self.name)

    def export_problems(self, form: str) -> Iterator[Problem]:
        """Problems of n-grams."""
        yield from self.nbow.export_problems(form)


def adapt(config: JoinedConfig, model: KerasModel, samples: Samples) -> None:
    """Fill the tables of n-grams and their ratios from the training texts."""
    for name, part in config.ngrams.items():
        nbow.adapt(part, model.get_layer(name), samples, f"model.{name}")


# Functional model


@register_model(JoinedConfig, adapt=adapt)
def build(config: JoinedConfig, spec: SequenceSpec) -> KerasModel:
    """A `keras.Model` from `(batch, time)` to `(batch, outputs)`."""
    import keras

    from seqconv.models.layers.drawn import DrawnAverage, DrawnInputs

    inputs = keras.Input((None,), name="tokens", dtype="int32")
    builders = {name: partial(nbow.build, part) for name, part in config.ngrams.items()}
    builders["region_cnn"] = partial(region_cnn.build, config.region_cnn)
    *texts, drawn = DrawnInputs(len(builders), name="drawn")(inputs)
    scores = []
    for (name, build_part), tokens in zip(builders.items(), texts, strict=True):
        with keras.name_scope(name):
            part = build_part(spec)
        part.name = name
        scores.append(part(tokens))
    each = (1 - config.cnn_share) / len(config.ngrams)
    weights = [each] * len(config.ngrams) + [config.cnn_share]
    outputs = DrawnAverage(weights, name="average")(scores, drawn)
    return keras.Model(inputs, outputs, name=config.name)
