"""What the five source documents report, so that a table can put this run's number beside theirs (SPEC §1 to §6)."""

from dataclasses import dataclass

DOCUMENTS = {
    "001": "a student's report on the handout's project",
    "004": "a report, “Exploration on CIFAR10 and Batch Normalization”, 2023",
    "paper": "Santurkar, Tsipras, Ilyas, Mądry: How Does Batch Normalization Help Optimization?, NeurIPS 2018 "
    "(arXiv 1805.11604), Fig. 4",
}


@dataclass(frozen=True)
class Reported:
    """One number or finding of a source.

    Attributes:
        source: number of the source document (SPEC's "seeds").
        what: the quantity, with its settings as far as the source gives them.
        reported: the source's value in its own unit.
    """

    source: str
    what: str
    reported: str


REPORTED = {
    "vgg_a_accuracy": Reported("001", "VGG-A, accuracy after about 20 epochs (read off an axis)", "77.52 %"),
    "vgg_a_seconds": Reported("001", "VGG-A, training time", "7.33 s per epoch"),
    "vgg_bn_accuracy": Reported("001", "VGG-A + BN, accuracy after about 20 epochs (read off an axis)", "82.88 %"),
    "vgg_bn_seconds": Reported("001", "VGG-A + BN, training time", "8.05 s per epoch"),
    "vgg_family": Reported("004", "best of VGG-A, Light, Dropout, BN, BN + Dropout", "the two with BN"),
    "vgg_sgd": Reported("004", "VGG-A with SGD (rate not given)", "did not train; with BN it did"),
    "loss_ahead": Reported("001", "training loss at the same step", "lower with BN, throughout"),
    "loss_band": Reported("004", "band of the loss over the four rates, 25 epochs", "narrower with BN"),
    "grad_dist_all": Reported("001", "gradient distance between steps", "larger with BN (“drastic”)"),
    "grad_dist_output": Reported("004", "gradient distance between steps, output layer", "smaller with BN"),
    "probe_loss": Reported("paper", "variation of the loss along the gradient (VGG, 15 000 steps)", "smaller with BN"),
    "probe_distance": Reported(
        "paper", "gradient predictiveness along the gradient", "better (distance smaller) with BN"
    ),
    "probe_beta": Reported("paper", "effective β-smoothness along the gradient", "smaller with BN"),
    "beta": Reported("004", "effective β, maximum over the rates", "greatly smaller with BN"),
}


def beside(rows: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Table rows that put our value beside the source's.

    Args:
        rows: (name in ``REPORTED``, our value as text).
    """
    return [
        {
            "source": REPORTED[name].source,
            "quantity": REPORTED[name].what,
            "source's result": REPORTED[name].reported,
            "ours": ours,
        }
        for name, ours in rows
    ]
