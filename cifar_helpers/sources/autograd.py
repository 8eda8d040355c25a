"""What source 003 says about automatic differentiation, beside what notebook 09 finds."""

from collections.abc import Mapping, Sequence

from .. import intervals, words
from . import beside


def rows(operations: int, rate: float, accuracies: Mapping[str, Sequence[float]], dead: Sequence, epochs: float):
    """Rows of the table of the sources' results: the derivations, the copies, the high rate.

    Args:
        operations: how many agree with both oracles; rate: the highest one.
        accuracies: ``ReLU`` and ``sigmoid`` → shares of every seed at this rate; dead: shares of ReLU units, per seed.
        epochs: how long the small networks trained.
    """
    said = [f"{kind} {', '.join(f'{100 * v:.1f}' for v in values)} %" for kind, values in accuracies.items()]
    gap = intervals.paired(*([100 * v for v in accuracies[kind]] for kind in ("ReLU", "sigmoid")))
    ours = f"rate {rate:g}: {'; '.join(said)}; dead ReLU units {', '.join(f'{100 * v:.0f}' for v in dead)} %; "
    ours += f"sigmoid over ReLU {words.difference_text(gap)} points"
    exact = f"{operations} operations agree with both oracles to 1e-6"
    remark = "exact: the source's answer lacks the sum"
    return [
        beside.said("autograd_ops", exact, beside.AGREES, remark="exact: nothing is trained"),
        beside.said("autograd_copy", "sum over the copies", beside.CONTRADICTS, remark=remark),
        beside.claim("autograd_rates", ours, {"sigmoid above ReLU": (gap, 1)}, epochs),
    ]
