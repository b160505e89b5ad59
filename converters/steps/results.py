"""Results of steps: what each returns, for whoever shows it; reports of gates and data aside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.gates.reports import FloatParity, ParityReport
from converters.training.history import Evaluation, History


@dataclass(frozen=True, slots=True)
class Trained:
    """A training run over ``steps`` batches; ``best`` is the evaluation whose weights are kept."""

    steps: int
    tokens: int
    tokens_per_second: float
    best: Evaluation | None
    curve: Path

    @classmethod
    def of(cls, history: History, curve: Path) -> Trained:
        """The result of a run whose loss curve is drawn at ``curve``."""
        speed = history.tokens / max(history.seconds, 1e-9)
        return cls(history.steps, history.tokens, round(speed, 1), history.best, curve)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {**asdict(self), "curve": str(self.curve)}


@dataclass(frozen=True, slots=True)
class LinearTrained:
    """A linear model of ``features`` out of ``features_all``, its penalty's inverse ``strength``,
    and the share of development rows that it, and that all features, get right."""

    features: int
    features_all: int
    strength: float
    accuracy: float
    accuracy_all: float

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Exported:
    """How the exported model compares with torch's; where it is a GGUF, also in the ``prompts``
    and ``tokens`` of texts, and in its weights (the furthest one, as a share of its tensor's
    largest)."""

    float_parity: FloatParity
    furthest_weight: float | None = None
    tokens: ParityReport | None = None
    prompts: ParityReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values; what was not compared is left out."""
        values: dict[str, Any] = {"float_parity": asdict(self.float_parity)}
        if self.furthest_weight is not None:
            values["furthest_weight"] = self.furthest_weight
        for name, parity in (("tokens", self.tokens), ("prompts", self.prompts)):
            if parity is not None:
                values[name] = {"n": parity.n, "differing": parity.differing}
        return values


@dataclass(frozen=True, slots=True)
class Written:
    """The files or folders that a step wrote."""

    files: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {"files": [str(path) for path in self.files]}
