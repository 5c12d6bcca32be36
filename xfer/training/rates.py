"""The learning rates of a model's blocks, as the settings of a trainer say."""

from __future__ import annotations

from xfer.models.base_model import BaseModel
from xfer.specs.rates import Rates, decayed_rates, lower_rates
from xfer.specs.training_settings import TrainingSettings


def rates_of(model: BaseModel, given: Rates, settings: TrainingSettings) -> dict[str, float]:
    """A rate for every block, from one number or numbers by block, with `layer_decay` where it is set.

    Raises:
        UsageError, UnknownNameError: as `xfer.specs.rates.decayed_rates`.
    """
    return decayed_rates(given, model.card.layer_depths, settings.layer_decay)


def fine_tuning_rates(model: BaseModel, head: float, settings: TrainingSettings) -> dict[str, float]:
    """That of the head, and less for what is below it: by `layer_decay`, or 2.6 times for each block."""
    return lower_rates(head, model.blocks) if settings.layer_decay is None else rates_of(model, head, settings)
