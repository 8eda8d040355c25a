"""What a source says about automatic differentiation, beside what notebook 09 finds."""

from collections.abc import Iterator

from .. import inside
from ..env import figures_dir, read_json
from ..intervals import paired
from ..words import difference_text
from . import beside

RATE = 8.0  # the highest of notebook 09


def operations(page, seed: int) -> Iterator[beside.Row]:
    """The derivations, from the table that notebook 09 made here, or else from the published one."""
    folders = figures_dir(page.profile), figures_dir()
    if checked := next(filter(None, (read_json(folder / "09_checks_table.json") for folder in folders)), None):
        gaps = [float(value) for row in checked["rows"] for name, value in row.items() if name.startswith("gap")]
        verdict = beside.AGREES if max(gaps) < 1e-6 else beside.CONTRADICTS
        exact = f"{len(checked['rows'])} operations, at most {max(gaps):.0e} from either oracle"
        yield beside.said("autograd_ops", exact, verdict, remark="exact: nothing is trained")
        remark = "exact: the source's answer lacks the sum"
        yield beside.said("autograd_copy", "sum over the copies", beside.CONTRADICTS, remark=remark)


def rates(page, seed: int) -> Iterator[beside.Row]:
    """Two activations at a high rate; torch's networks end where those of notebook 09 do."""
    plan, toys = page.plan, inside.toys
    found = {
        kind: [
            toys.measured(toys.Toy((kind.lower(),), lr=RATE, steps=plan.own_toy, seed=each), page.store)
            for each in range(seed, seed + plan.own_toy_seeds)
        ]
        for kind in ("sigmoid", "ReLU")
    }
    last = {kind: [100 * each["accuracies"][-1] for each in seeds] for kind, seeds in found.items()}
    said = [f"{kind} {', '.join(f'{v:.1f}' for v in values)} %" for kind, values in last.items()]
    gap = paired(last["ReLU"], last["sigmoid"])
    dead = ", ".join(f"{100 * each['dead']:.0f}" for each in found["ReLU"] if "dead" in each)
    ours = f"rate {RATE:g}: {'; '.join(said)}; " + f"dead ReLU units {dead} %; " * bool(dead)
    ours += f"sigmoid over ReLU {difference_text(gap)} points"
    yield beside.claim("autograd_rates", ours, {"sigmoid above ReLU": (gap, 1)}, plan.own_toy / toys.EPOCH, at_end=True)
