"""How notebooks 05 to 07 call the paper's three quantities, each in its own figures and tables."""

from collections.abc import Callable
from dataclasses import dataclass

from ..measure import quantities


@dataclass(frozen=True)
class Quantity:
    """How one of the paper's three quantities is called in figures and tables.

    Attributes:
        name: of ``quantities.probe_values``; unit: of it.
        axis, summary, cloud: labels of its band, of the one number per probe, and of it over relative distance.
        less, more: titles of what an interval may decide.
        proxy: the handout's measurement, from runs to a ``Band``; its label.
    """

    name: str
    unit: str
    axis: str
    summary: str
    cloud: str
    less: str
    more: str
    noun: str
    proxy: Callable = quantities.loss_band
    proxy_axis: str = "loss (nats)"

    @property
    def heading(self) -> str:
        """Its name at the head of a sentence."""
        return self.noun[0].upper() + self.noun[1:]


QUANTITIES = {  # number of the notebook → what it measures
    "05": Quantity(
        *("loss", "nats", "L(w − ηg), same batch (nats)", "max − min of L over η (nats)", "|L(w − ηg) − L(w)| (nats)"),
        *("Along the gradient the loss varies less with batch norm", "Along the gradient the loss varies more with BN"),
        "the loss along the gradient",
    ),
    "06": Quantity(
        *("distance", "nats per weight unit", "‖∇L(w − ηg) − g‖₂\n(nats per weight unit)"),
        *("max over η of ‖∇L(w − ηg) − g‖₂", "‖∇L(w − ηg) − g‖₂"),
        *("Along its own way the gradient changes less with BN", "Along its own way the gradient changes more with BN"),
        "the change of the gradient along its own way",
        *(quantities.VGG_Grad_Pred, "gradient distance ‖Δg‖₂\n(nats per weight unit)"),
    ),
    "07": Quantity(
        *("beta", "nats per weight unit²", "β(η) = ‖∇L(w − ηg) − g‖₂ / η‖g‖₂\n(nats per weight unit²)"),
        *("max over η of β (nats per weight unit²)", "β(η)"),
        *("β along the gradient is smaller with batch norm", "β along the gradient is larger with batch norm"),
        "the effective β along the gradient",
        *(quantities.VGG_Beta_Smooth, "β(t) = ‖Δg‖₂ / ‖Δw‖₂\n(nats per weight unit²)"),
    ),
}
