"""What the figures of notebooks 04 and 10 show, in sentences whose numbers and sides are the records' own.

Every function returns a paragraph, for ``words.say``. Where an interval decides nothing, the sentence says so.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ..figures import network_name
from ..figures.batchnorm import PASSES
from ..intervals import Paired, paired
from ..measure import ahead as ends
from ..measure import compare, ranking
from ..measure.walks import Pair
from ..plans.landscape import BATCH_NORM, PLAIN
from ..words import by_side, counted, difference_text, listed, rounded


def _paragraph(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _sentence(text: str) -> str:
    """The text with a capital letter in front, and the rest as it is."""
    return text[:1].upper() + text[1:]


# --- 04 --------------------------------------------------------------------------------------------------------------


def training(runs: Sequence) -> str:
    """Both networks at one rate: where the loss ends, when it begins to fall, who does not train."""
    sides, config = Pair(runs).both, runs[0].config
    plain, other = (float(np.nanmedian(ends.end_losses(mine))) for mine in sides)
    stuck = sum(not compare.is_training(run) for run in sides[0])
    begins = []
    for mine in sides:
        steps = [int(np.argmin(compare.not_training(run))) for run in mine if compare.is_training(run)]
        begins.append(f"at step {np.median(steps):.0f}" if steps else "at no step")
    return _paragraph(
        f"After {config.steps:,} steps of {config.batch_size} images the training loss is {other:.2f} nats with batch "
        f"norm and {plain:.2f} without (last fifth, median over seeds).",
        f"It first falls {compare.NOT_TRAINING} nats below $\\ln 10$ {begins[1]} with batch norm, {begins[0]} without.",
        f"{_sentence(counted(stuck, len(sides[0]), 'plain networks'))} never {'get' if stuck > 1 else 'gets'} there: "
        f"{'they stay' if stuck > 1 else 'it stays'} at guessing." * bool(stuck),
    )


def _leads(compared: Sequence[Mapping], all_seeds: bool) -> str:
    """Who is ahead by how much at which rate, and where the seeds decide nothing; a sentence without its full stop."""
    leads = "batch norm is ahead by {} nats", "the plain network is ahead by {} nats", "nothing is decided"
    sides: dict[str, list] = {lead: [] for lead in leads}
    for row in compared:
        gap = row["by_seeds"][all_seeds]
        sides[by_side(gap, *leads)].append((f"{abs(gap.mean):.2f}" if gap else "", f"{row['rate']:g}"))
    parts = []
    for lead, found in sides.items():
        if found:
            by, rates = map(listed, zip(*found, strict=True))
            parts.append(f"{lead.format(by)} at rate{'s' * (len(found) > 1)} {rates}")
    return "; ".join(parts)


def ahead(compared: Sequence[Mapping]) -> str:
    """Who is ahead at which rate, where both networks train and over all seeds."""
    mixed = [row for row in compared if row["by_seeds"][0] is not row["by_seeds"][1]]
    train, of = (sum(len(row["by_seeds"][side].values) for row in mixed if row["by_seeds"][side]) for side in (0, 1))
    leads = _leads(compared, False)
    return _paragraph(
        f"Where both train, {leads}." if mixed else f"{_sentence(leads)}.",
        f"Over all seeds, {_leads(mixed, True)} (stuck: {counted(of - train, of, 'pairs')})." if mixed else "",
    )


def lasts(runs: Sequence) -> str:
    """Who is ahead at the end of a longer run, in training loss and on validation images, over all seeds."""
    plain, other = Pair(runs).both
    right = [[100 * ranking.accuracy(run) for run in mine] for mine in (plain, other)]
    judged = by_side(paired(*right), "it is behind", "it is ahead", "nothing is decided")
    return _paragraph(
        f"Over the last fifth of {runs[0].config.steps:,} steps, {_leads(compare.same_step_rows(plain, other), True)}.",
        f"On validation images {judged}: {np.mean(right[1]):.1f} % with it, {np.mean(right[0]):.1f} % without (means).",
    )


def answer(compared: Sequence[Mapping], runs: Sequence) -> str:
    """Who is ahead over all seeds, and how many runs do not train; follows a colon."""
    lower = [other < plain for row in compared for plain, other in row["pairs"]]
    stuck = [(sum(not compare.is_training(run) for run in mine), len(mine)) for mine in Pair(runs).both]
    fail = "{} plain runs and {} with batch norm fail to train".format(*(counted(*each) for each in stuck))
    return _paragraph(
        f"over all seeds, {_leads(compared, True)}.",
        f"Batch norm has the lower training loss in {counted(sum(lower), len(lower), 'pairs of runs')}; "
        f"{fail if any(count for count, _ in stuck) else 'every run trains'}.",
    )


def hard(runs: Sequence) -> str:
    """How many runs diverged at the hard settings; which of them train is the figure's title."""
    gone = sum(run.diverged_at is not None for run in runs)
    return _paragraph(
        f"{gone} of the runs diverged." if gone else "No run diverged.",
        f"One seed each and {runs[0].config.steps} steps: this is what can happen, not how often.",
    )


def _trained(runs: Sequence) -> dict[str, int]:
    """Network → how many of its runs train."""
    return {model: sum(map(bool, map(compare.is_training, mine))) for model, mine in Pair(runs).sides.items()}


def hard_title(runs: Sequence) -> str:
    """The outcome of the hard settings as a title."""
    trains = _trained(runs)
    of = len(ends.settings_of(runs))
    return f"Of {of} hard settings, batch norm trains at {trains[BATCH_NORM]} and plain VGG-A at {trains[PLAIN]}"


def family(runs: Sequence) -> str:
    """The order of the relatives, and what size and dropout do this early."""
    order = ends.by_validation_loss(runs)
    last = {run.config.model: run.epochs[-1]["validation_loss"] for run in order}
    parts = []
    for base, dropped in ((PLAIN, "VGG_A_Dropout"), (BATCH_NORM, "VGG_A_BatchNorm_Dropout")):
        if base in last and dropped in last:
            change = last[dropped] - last[base]
            way, what = "raises" if change > 0 else "lowers", "that" if parts else "the loss"
            parts.append(f"{way} {what} of {network_name(base)} by {abs(change):.2f}")
    names = [network_name(run.config.model) for run in (order[0], order[-1])]
    gap = last.get(PLAIN, np.nan) - last.get("VGG_A_Light", np.nan)
    return _paragraph(
        f"{names[0]} has the lowest validation loss, {names[1]} the highest.",
        f"The light net ends {gap:.2f} nats below plain VGG-A: part of batch norm's lead "
        "may come from a bad start for VGG-A." * bool(gap > 0),
        f"Dropout {listed(parts)} nats." if parts else "",
        "With one seed, all of this may be luck.",
    )


# --- 10 --------------------------------------------------------------------------------------------------------------


def _against(what: str, found: Paired) -> str:
    """A sentence on a paired difference, batch norm minus no norm; it names a side only where the seeds decide."""
    side = by_side(found, "smaller with batch norm than without", "larger with batch norm than without", "")
    return f"{_sentence(what)}: {side or 'no difference decided'} ({difference_text(found, 3)})."


def controls(networks: Mapping[str, Sequence]) -> str:
    """Which norms end above batch norm's training loss, which are not told apart from it; where the noisy one is."""
    losses = {name: ends.end_losses(runs) for name, runs in networks.items()}
    gaps = {name: paired(losses["batch norm"], values) for name, values in losses.items() if name != "batch norm"}
    worse = f"Worse than batch norm in training loss ({len(losses['batch norm'])} seeds)"
    sides: dict[str, list[str]] = {worse: [], "Better": [], "Not told apart from it": []}
    for name, gap in gaps.items():
        sides[by_side(gap, "Better", worse, "Not told apart from it")].append(name)
    noisy, none = gaps["noisy batch norm"], gaps["no norm"]
    last = {name: ends.at_end(runs) for name, runs in networks.items()}
    late, gone = (paired(last[name], last["noisy batch norm"]) for name in ("batch norm", "no norm"))
    sides_of = "is better than", "is worse than", "could not be told apart from"
    return _paragraph(
        *(f"{side}: {listed(names)}." for side, names in sides.items() if names),
        f"The noise costs {noisy.mean:.2f} nats and the lack of any norm {none.mean:.2f}: shaken inputs do "
        f"{'less' if noisy.mean < none.mean else 'no less'} harm than no norm does.",
        "In evaluation mode the noise is off and the running averages are those of shaken inputs: there it "
        f"{by_side(late, *sides_of)} batch norm and {by_side(gone, *sides_of)} no norm.",
    )


def controls_title(networks: Mapping[str, Sequence]) -> str:
    """Whether noise costs batch norm more or less than having no norm does, where the seeds decide."""
    losses = {name: ends.end_losses(networks[name]) for name in ("batch norm", "noisy batch norm", "no norm")}
    behind = paired(losses["batch norm"], losses["noisy batch norm"]).values
    nearer = paired(behind, paired(losses["noisy batch norm"], losses["no norm"]).values)
    cost = "In training, shaken inputs cost batch norm"
    return by_side(nearer, f"{cost} most of its lead", f"{cost} little", "Batch norm against seven controls")


def batches_title(modes: Mapping[tuple[str, int], Sequence[Mapping]]) -> str:
    """What evaluation mode does at the smallest and at the largest batch size, where the seeds decide."""
    sizes = sorted(size for norm, size in modes if norm == "batch norm")
    gaps = [[gap["eval"] - gap["train"] for gap in modes["batch norm", size]] for size in (sizes[0], sizes[-1])]
    ends_of = [by_side(paired(np.zeros(len(gap)), gap), "helps", "hurts", "") for gap in gaps]
    if not all(ends_of):
        return "Batch norm in its two modes, over the batch size"
    return f"Evaluation mode {ends_of[0]} in batches of {sizes[0]} and {ends_of[1]} in batches of {sizes[-1]}"


def shift(gaps: Mapping[str, Paired], layers: Mapping[str, Paired]) -> str:
    """Internal covariate shift, BN minus no norm, by length, relative length and cosine; layers: the cosine of each."""
    said = {"l2": "‖G − G′‖₂", "relative": "relative to the gradient", "cosine": "cosine of G and G′"}
    each = [_against(said[name], gaps[name]) for name in said]
    by_layer = ", ".join(f"{name} {difference_text(found, 2)}" for name, found in layers.items())
    less = gaps["relative"].decided and gaps["relative"].mean < 0
    end = (
        "So batch norm does reduce the shift here." if less else "None of this says that batch norm reduces the shift."
    )
    return _paragraph(*each, f"The cosine, layer by layer: {by_layer}.", end)


def drift(moves: Mapping[str, Sequence[float]], still: Mapping[str, Sequence[float]]) -> str:
    """How far the distributions move between measured steps, and how far on another batch at the same weights."""
    means = {name: (float(np.mean(values)), float(np.mean(still[name]))) for name, values in moves.items()}
    move, other = (listed([f"{round(pair[i], 4):.2g} with {name}" for name, pair in means.items()]) for i in (0, 1))
    noise = by_side(paired(moves["no norm"], moves["noisy batch norm"]), "less", "more", "not decidedly more or less")
    return _paragraph(
        "Between two measured steps a channel's mean and spread move, in units of its spread, by "
        f"{move} (all channels of three layers). With another batch and draw at the same weights: {other}.",
        "After batch norm only β and γ can move them. From one measured step to the next the noise moves them "
        f"{noise} than training does without a norm.",
    )


def decay(shown: Mapping[float, tuple[object, Mapping[int, float]]]) -> str:
    """What weight decay does to the effective rate and to the loss."""
    rates, losses = [], []
    for strength, (run, sizes) in shown.items():
        first, *_, last = sizes.values()
        rates.append(f"{rounded((first / last) ** 2)} with decay {strength:g}")
        losses.append(f"{compare.window_mean(run.steps['loss']):.2f}")
    return _paragraph(
        f"From start to end the effective rate changes by a factor of {listed(rates)}.",
        f"Over the last fifth the loss is {listed(losses)}.",
        "One seed each.",
    )


def batches(modes: Mapping[tuple[str, int], Sequence[Mapping]]) -> str:
    """Batch norm minus group norm by batch size, and what evaluation mode changes at the ends."""
    sizes = sorted({size for _, size in modes})
    said = []
    for size in (sizes[0], sizes[-1]):
        accuracy = [[100 * gap["eval_accuracy"] for gap in modes[name, size]] for name in ("group norm", "batch norm")]
        found = paired(*accuracy)
        switch = float(np.mean([gap["eval"] - gap["train"] for gap in modes["batch norm", size]]))
        better = by_side(found, "is worse than", "is better than", "could not be told apart from")
        idle = sum(gap["eval"] > np.log(10) - compare.NOT_TRAINING for gap in modes["group norm", size])
        chance = f"; {counted(idle, len(found.values), 'group norms')} at chance, and counted" * bool(idle)
        said.append(
            f"At {size} images a batch, batch norm {better} group norm ({difference_text(found)} points{chance}), "
            f"and evaluation mode changes its loss by {switch:+.2f} nats."
        )
    return _paragraph(*said)


def tolerance(grid: Mapping[str, np.ndarray], steps: int) -> str:
    """How many settings train within the steps of the map."""
    counts = {name: int((np.nan_to_num(values) > PASSES).sum()) for name, values in grid.items()}
    of = next(iter(grid.values())).size
    text = listed([f"{count} with {name}" for name, count in counts.items()])
    return f"Of {of} settings, {text} pass {100 * PASSES:g} % accuracy within {steps} steps."


def later(growth: Mapping[str, Sequence], sharp: Mapping[str, Sequence]) -> str:
    """What large steps do by depth, and where sharpness times rate goes."""
    plain, normed = (np.median(growth[name], axis=0) for name in ("no norm", "batch norm"))
    more = counted(int((normed > plain).sum()), len(plain), "convolutions")
    ways = "; ".join(f"with {name} {sharpness_text(seeds[0])}" for name, seeds in sharp.items())
    found = over_layers(growth)
    times, *ends = (rounded(np.exp(each)) for each in (found.mean, *(found.interval or ())))
    return _paragraph(
        f"Before the norm, outputs grow {times} times as much with batch norm as without (mean of the layers; "
        f"{' to '.join(ends) or 'one seed'}), and more in {more} (medians).",
        f"Sharpness times rate, at its largest and at the end: {ways}.",
    )


def sharpness_text(found: Mapping) -> str:
    """Sharpness times rate, the largest and that at the end, and the loss there; as of ``inside.explanations``."""
    values = np.array(found["values"]) * found["rate"]
    return f"{rounded(values.max())} → {rounded(values[-1])} (loss {rounded(found['losses'][-1])})"


def over_layers(growth: Mapping[str, Sequence]) -> Paired:
    """Growth of a convolution's output, batch norm against no norm: means over the layers, logarithms."""
    return paired(*(np.log(growth[name]).mean(axis=1) for name in ("no norm", "batch norm")))
