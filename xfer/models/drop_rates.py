"""Rates of stochastic depth and dropout below the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xfer.errors import UsageError
from xfer.zoo.card import Card

Kind = Literal["stochastic_depth", "dropout"]


@dataclass(frozen=True)
class DropRates:
    """The rates that are asked for in place of the network's own, which its card's `config` holds by kind.

    Args:
        drop_path: of stochastic depth (Huang et al. 2016, arXiv:1603.09382) in the last residual branch; those before
            have less, by the line over depth that the architecture has. None for the network's own.
        dropout: of the layers of dropout below the head. None for the network's own.
    """

    drop_path: float | None = None
    dropout: float | None = None

    def check(self, card: Card) -> None:
        """Refuse rates of layers that a network does not have.

        Raises:
            UsageError: in one line.
        """
        for kind, name, given in (
            ("stochastic_depth", "drop_path", self.drop_path),
            ("dropout", "backbone_dropout", self.dropout),
        ):
            if given is not None and kind not in card.config:
                what = "stochastic depth" if kind == "stochastic_depth" else "dropout below its head"
                raise UsageError(f"{name}={given}: {card.name} has no {what}, leave it out")

    def of_layer(self, card: Card, kind: Kind, built: float, active: bool) -> float:
        """The rate of a layer.

        Args:
            card: the network.
            kind: of the layer.
            built: the rate that the layer was built with; of stochastic depth the network's own, or where that is zero
                the share of the rate that a branch at its depth has.
            active: whether the network's own rates count.
        """
        if kind not in card.config:
            return built if active else 0.0
        own = card.config[kind]
        given = self.drop_path if kind == "stochastic_depth" else self.dropout
        if given is None:
            return built if active and own else 0.0
        return given if kind == "dropout" else given * built / (own or 1.0)
