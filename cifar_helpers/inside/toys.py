"""Small networks on drawn points, as a source has them: sigmoid against ReLU, a third layer, He against Glorot.

The points are two-dimensional and normally distributed; the class says whether a quadratic form of a point is above a
threshold. A network of two inputs can be seen whole, and trains in seconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..models import ACTIVATIONS, initialise
from ..models.layers import lookup
from ..training.store import DRAWN, Store

TRAINING, VALIDATION, HIDDEN = 60_000, 10_000, 8
BATCH, EPOCH = 128, 60_000 // 128
SPLITS = ((TRAINING, 0), (VALIDATION, 1))  # arguments of ``points``
FORM, THRESHOLD = ((1.0, -0.05), (1.0, 0.4)), 0.6


@dataclass(frozen=True)
class Toy:
    """A small network and its training: SGD at rate 0.01, batches of 128.

    Attributes:
        activations: one name for each hidden layer of eight units, see ``models.ACTIVATIONS``.
        init: see ``models.INITS``.
        lr: learning rate; steps: number of steps.
        seed: of the weights and of the order of the points.
    """

    activations: tuple[str, ...] = ("sigmoid",)
    init: str = "xavier_normal"
    lr: float = 0.01
    steps: int = 20 * EPOCH
    seed: int = 0


VARIANTS = {
    "sigmoid": Toy(),
    "ReLU": Toy(("relu",)),
    "ReLU, rate 0.5": Toy(("relu",), lr=0.5),
    "sigmoid, rate 0.5": Toy(lr=0.5),
    "ReLU and sigmoid": Toy(("relu", "sigmoid")),
    "ReLU and sigmoid, He": Toy(("relu", "sigmoid"), init="kaiming_normal"),
}


def points(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (count, 2) and their classes (count,), 0 or 1; the same for the same seed."""
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return x, ((x @ torch.tensor(FORM) * x).sum(1) > THRESHOLD).long()


def build(toy: Toy) -> nn.Sequential:
    """The network of a ``Toy``; ``ValueError`` for an unknown activation or initialisation."""
    layers, width = [], 2
    for name in toy.activations:
        layers += [nn.Linear(width, HIDDEN), lookup("activation", name, ACTIVATIONS)()]
        width = HIDDEN
    model = nn.Sequential(*layers, nn.Linear(width, 2))
    initialise(model, toy.init)
    return model


def batches(toy: Toy) -> Iterator[tuple[int, torch.Tensor]]:
    """(step, indices of the points of its batch) for every step; an epoch leaves out the last incomplete batch."""
    generator = torch.Generator().manual_seed(toy.seed)
    for step in range(toy.steps):
        if step % EPOCH == 0:
            order = torch.randperm(TRAINING, generator=generator)
        yield step, order[step % EPOCH * BATCH : (step % EPOCH + 1) * BATCH]


def epoch_ends(toy: Toy, step: int) -> bool:
    """Whether the accuracy is taken after this step: at the end of every epoch and of the run."""
    return (step + 1) % EPOCH == 0 or step + 1 == toy.steps


def accuracies(toy: Toy, store: Store) -> list[float]:
    """Accuracy on 10 000 other points after every epoch (a shorter run has one value), measured once and stored."""
    return measured(toy, store)["accuracies"]


def measured(toy: Toy, store: Store) -> dict:
    """``accuracies``, and ``dead``: the share of first-layer ReLU units that are 0 for all of these points at the end.

    Older records lack ``dead``.
    """

    def compute() -> dict:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(toy.seed)
            model = build(toy)
        (x, y), (x_val, y_val) = (points(*split) for split in SPLITS)
        optimizer, found = torch.optim.SGD(model.parameters(), lr=toy.lr), []
        for step, chosen in batches(toy):
            optimizer.zero_grad()
            F.cross_entropy(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
            if epoch_ends(toy, step):
                with torch.no_grad():
                    found.append((model(x_val).argmax(1) == y_val).float().mean().item())
        with torch.no_grad():
            dead = (model[0](x_val) <= 0).all(0).float().mean().item()
        return {"accuracies": found, "dead": dead}

    return store.measurement("toy", asdict(toy) | {"data": DRAWN}, compute)


def table(found: dict[str, Sequence[Sequence[float]]]) -> list[dict[str, str]]:
    """A row per variant: accuracy after the first, the fifth and the last epoch, of every seed's ``accuracies``."""
    rows = []
    for name, seeds in found.items():
        row = {"network": name, "seeds": str(len(seeds))}
        last = len(seeds[0])
        for epoch in dict.fromkeys((1, min(5, last), last)):
            row[f"after epoch {epoch} (%)"] = ", ".join(f"{100 * values[epoch - 1]:.2f}" for values in seeds)
        rows.append(row)
    return rows
