"""What decides whether a conclusion about the landscape stands: the probe's controls, and what the proxy is made of.

From records to table rows and to what ``landscape`` draws; nothing here trains.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from ..intervals import Paired
from ..words import by_side, factor, listed, ratio_cell, ratio_text, rounded
from . import compare, quantities

NETWORK = {"VGG_A": "no BN", "VGG_A_BatchNorm": "BN"}


# --- Controls of the probe -----------------------------------------------------------------------------------------


def at_step(run, probe, quantity: str, step: int, layer: str = "all") -> np.ndarray:
    """Values of a probe at one of its steps, (m,) over η; NaN where the run ended before."""
    where = _rows(run, probe, step)
    if not len(where):
        return np.full(len(probe.etas), np.nan)
    return quantities.probe_band(run, probe, quantity, layer).curves[:, where[0]]


def _rows(run, probe, step: int) -> np.ndarray:
    """Rows of a step in a probe's arrays; none where the run ended before, so that they may even be empty."""
    return np.flatnonzero(run.probes[probe].values.get("step", ()) == np.int64(step))


def _recorded(run, probe, step: int, name: str):
    """What a probe recorded at a step; NaN where the run ended before."""
    where = _rows(run, probe, step)
    return run.probes[probe][name][where[0]] if len(where) else np.nan


def noise_at(run, probe, quantity: str, step: int, etas: Sequence[float]) -> np.ndarray:
    """Noise floor in the axes of the probe, (m,): the same weights, another batch in place of another point.

    For the loss it is the loss of the other batches; for the distance that between two batches' gradients; for β that
    distance over η‖g‖. Means over the other batches.
    """
    recorded = _recorded(run, probe, step, "loss" if quantity == "loss" else "gradient_distance")
    floor = np.full(len(etas), np.mean(recorded), dtype=np.float64)
    return floor / (np.asarray(etas) * _recorded(run, probe, step, "gradient_norm")) if quantity == "beta" else floor


def control_panels(runs: Sequence, grid, controls: Mapping, quantity: str) -> list[dict]:
    """Panels for ``figures.landscape.controls``: a quantity against η under every control, per network and step.

    Args:
        runs: of both networks.
        grid: the probe that the conclusions rest on; controls: as of ``plans.landscape.direct_controls``.
        quantity: ``loss``, ``distance`` or ``beta``.
    """
    panels = []
    for model in dict.fromkeys(run.config.model for run in runs):
        mine = [run for run in runs if run.config.model == model]
        for step in controls["dense"].at:
            conditions = {
                name: (probe.etas, np.stack([at_step(run, probe, quantity, step) for run in mine]))
                for name, probe in {"grid": grid, **controls}.items()
                if name != "noise"
            }
            etas = controls["dense"].etas
            if quantity == "loss":
                starts = [_recorded(run, controls["noise"], step, "start_loss") for run in mine]
                conditions["start"] = (etas, np.repeat(np.array(starts)[:, None], len(etas), axis=1))
            floors = np.stack([noise_at(run, controls["noise"], quantity, step, etas) for run in mine])
            stuck = sum(_idle(run, step) for run in mine)
            panel = {"model": model, "step": step, "conditions": conditions | {"noise": (etas, floors)}}
            panels.append(panel | {"stuck": f"{stuck} of {len(mine)} not training" if stuck else ""})
    return panels


def _summary(values: np.ndarray, quantity: str) -> float:
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan")
    return float(known.max() - known.min() if quantity == "loss" else known.max())


def control_rows(plain: Sequence, other: Sequence, grid, controls: Mapping, quantity: str) -> list[dict]:
    """Ratio BN / no BN of the probe's one number under every control, at every control step, paired by seed.

    Returns:
        One dict per condition: ``condition`` in words, and per step ``ratios`` {step: ``intervals.Paired`` of
        logarithms or None}, ``texts`` {step: the ratio in words} and ``stuck`` {step: networks not training there}.
        Seeds that do not train at a step are left out of it, unless none trains.
    """
    conditions = {f"{len(grid.etas)} step lengths (the conclusions' grid)": (grid, "all")}
    conditions[f"{len(controls['dense'].etas)} step lengths"] = (controls["dense"], "all")
    conditions["batch norm in eval mode"] = (controls["eval"], "all")
    conditions["random direction"] = (controls["random"], "all")
    if quantity != "loss":
        conditions["output layer alone"] = (grid, "output")

    def ratio(probe, layer: str, step: int) -> Paired | None:
        def log(run) -> float:
            with np.errstate(divide="ignore"):
                return float(np.log(_summary(at_step(run, probe, quantity, step, layer), quantity)))

        return compare.paired_by_seed(plain, other, log, lambda run: not _idle(run, step))

    rows, stuck = [], {step: _stuck_at((plain, other), step) for step in controls["dense"].at}
    for name, (probe, layer) in conditions.items():
        ratios = {step: ratio(probe, layer, step) for step in controls["dense"].at}
        texts = {step: ratio_text(found) if found else "not compared" for step, found in ratios.items()}
        rows.append({"condition": name, "ratios": ratios, "texts": texts, "stuck": stuck})
    return rows


def _idle(run, step: int) -> bool:
    """Whether a run is not training at a step; one that has ended counts as it ended."""
    return bool(compare.not_training(run)[min(step, len(run.steps["loss"]) - 1)])


def _stuck_at(sides: Sequence[Sequence], step: int) -> str:
    """Networks of which some seed is not training at a step, with how many, in words; empty where all train."""
    counts = [(NETWORK[runs[0].config.model], sum(_idle(run, step) for run in runs), len(runs)) for runs in sides]
    return "; ".join(f"{name}: {stuck} of {n} not training" for name, stuck, n in counts if stuck)


def control_table(rows: Sequence[Mapping]) -> list[dict]:
    """Rows of a table from ``control_rows``; a step at which a network is not training is marked in its column."""
    names = {s: f"BN / no BN at step {s}" + (f" ({stuck})" if stuck else "") for s, stuck in rows[0]["stuck"].items()}
    return [
        {"condition": row["condition"]}
        | {names[s]: ratio_cell(row["ratios"][s], text) for s, text in row["texts"].items()}
        for row in rows
    ]


def floor_rows(runs: Sequence, grid, noise, quantity: str) -> list[dict]:
    """How the probe's number compares with what another batch alone would give, per network and step.

    Returns:
        One dict per network: the largest value over η divided by the noise floor (geometric mean over seeds; for β both
        at the largest value's η), at every control step; for the loss, the width of its band divided by the mean
        |L(w; B′) − L(w; B)| over other batches B′. 1 means: no more than batch noise.
    """
    rows = []
    for model in dict.fromkeys(run.config.model for run in runs):
        row = {"network": NETWORK.get(model, model)}
        for step in noise.at:
            shares = []
            for run in (run for run in runs if run.config.model == model):
                values, floor = at_step(run, grid, quantity, step), noise_at(run, noise, quantity, step, grid.etas)
                if not np.isfinite(values).any():
                    continue
                if quantity == "loss":
                    loss, start = (_recorded(run, noise, step, name) for name in ("loss", "start_loss"))
                    shares.append(_summary(values, quantity) / np.abs(loss - start).mean())
                else:
                    best = int(np.nanargmax(values))
                    shares.append(values[best] / floor[best])
            row[f"step {step}"] = f"{np.exp(np.mean(np.log(shares))):.2f} (n = {len(shares)})" if shares else "–"
        rows.append(row)
    return rows


def survives(rows: Sequence[Mapping], step: int) -> str:
    """In words: the first row's ratio at a step, and which conditions decide the other way, and at which steps.

    Where the first row decides nothing at the given step, what the other conditions decide there.
    """
    base, others = rows[0]["ratios"], {row["condition"]: row["ratios"] for row in rows[1:]}
    said = rows[0]["stuck"][step]
    text = f"{factor(base[step])} at step {step}" + f" ({said})" * bool(said)
    sides = ("smaller", "larger")
    if base[step] is None:
        return text

    def turned(found, usual) -> bool:
        return all(each is not None and each.decided for each in (found, usual)) and found.mean * usual.mean < 0

    early = [str(at) for at, found in base.items() if turned(found, base[step])]
    text += f"; at step {listed(early)} it is {by_side(base[step], *sides[::-1], '')} with batch norm" if early else ""
    against = ""
    for name, found in others.items():
        where = {str(at): each for at, each in found.items() if turned(each, base.get(at))}
        if where:
            against += f"; with {name} it goes the other way at step{'s' * (len(where) > 1)} {listed([*where])}: "
            against += listed([factor(each) for each in where.values()])
    if base[step].decided:
        text += against or "; no control decides the other way"
    else:
        text += ", where these seeds decide nothing"
        decided = {name: found[step] for name, found in others.items() if found[step] and found[step].decided}
        each = [f"with {name} it is {by_side(found, *sides, '')}: {factor(found)}" for name, found in decided.items()]
        text += f"; there, {', and '.join(each)}" if each else "; nor do the controls"
    left_out = [name for name, found in others.items() if found[step] is None]
    return text + (f"; not compared: {', '.join(left_out)}" if left_out else "")


def not_finite(sides: Sequence[Sequence], grid) -> str:
    """How many of the window's (step, η) gave a loss that is not finite, per network; empty where none did.

    They are left out of bands and maxima, so a net that blows up there looks smoother than it is.
    """
    parts = []
    for runs in sides:
        inside = [compare.in_window(run.probes[grid]["step"], run.config.steps) for run in runs]
        bad = [~np.isfinite(run.probes[grid]["loss"][where]) for run, where in zip(runs, inside, strict=True)]
        if count := sum(int(b.sum()) for b in bad):
            parts.append(f"{NETWORK[runs[0].config.model]} {count} of {sum(b.size for b in bad)}")
    return f" Loss not finite, left out: {'; '.join(parts)}." if parts else ""


# --- What the proxy is made of ---------------------------------------------------------------------------------------


def proxy_rows(plain: Sequence, other: Sequence, quantity: Callable, move: Callable) -> list[dict]:
    """Table rows of the proxy at every rate: at the same step, at the same loss, and of ‖Δw‖/‖w‖ (``move``)."""
    by_step = compare.ratio_rows(plain, other, quantity)
    by_loss = compare.loss_rows(plain, other, quantity)
    moved = compare.ratio_rows(plain, other, move)
    return [
        {"rate": f"{step['rate']:g}", "BN / no BN at the same step": ratio_cell(step["paired"], step["ratio"])}
        | {"at the same training loss": ratio_cell(loss["paired"], loss["in_words"])}
        | {"‖Δw‖/‖w‖, BN / no BN": ratio_cell(far["paired"], far["ratio"]), "note": step["note"]}
        for step, loss, far in zip(by_step, by_loss, moved, strict=True)
    ]


def peak_row(plain: Sequence, other: Sequence, quantity: Callable) -> dict:
    """The largest value over several rates, BN over no BN at the same step by seed: a row of ``compare.ratio_rows``."""

    def largest(found: Sequence) -> object:
        names = {(sweep.config.model, sweep.config.seed) for sweep in found}
        band = quantity([run for run in (*plain, *other) if (run.config.model, run.config.seed) in names])
        return quantities.Band(band.steps, band.max_curve[None])

    return compare.ratio_rows(quantities.sweeps(plain), quantities.sweeps(other), largest)[0]


def rates_that_train(runs: Sequence) -> list[float]:
    """The rates at which every run trains, whatever its network and seed."""
    stuck = {run.config.lr for run in runs if not compare.is_training(run)}
    return sorted({run.config.lr for run in runs} - stuck)


def seeds(runs: Sequence) -> str:
    """Which seeds the runs have, in words: ``seed 2``, ``seeds 0, 1, 2``."""
    found = sorted({run.config.seed for run in runs})
    return f"seed{'s' * (len(found) > 1)} {', '.join(map(str, found))}"


def noise_share(run, probe) -> float:
    """Share of the squared two-batch gradient distance that is gone with both gradients on one batch, in the window.

    1 − mean d²(same batch) / mean d²(two batches), over the steps at which both were taken.
    """
    one = quantities.same_batch([run], probe, "distance")
    two = quantities.at_steps(quantities.VGG_Grad_Pred([run]), one.steps)
    inside = compare.in_window(one.steps, run.config.steps)
    squares = [np.nanmean(band.curves[0][inside] ** 2) for band in (one, two)]
    return float(1 - squares[0] / squares[1])


def noise_rows(runs: Sequence, probe) -> list[dict]:
    """Table rows: how much of the proxy's squared gradient distance is batch noise, per rate and network.

    Also the two levels of β that follow, since numerator and denominator are otherwise the same. Seeds that do not
    train are counted and left out; where none trains, the row is of those that did not diverge, and says so.
    """
    rows = []
    for rate in sorted({run.config.lr for run in runs}):
        row = {"rate": f"{rate:g}"}
        for model in dict.fromkeys(run.config.model for run in runs):
            mine = [run for run in runs if (run.config.model, run.config.lr) == (model, rate)]
            training, n = [run for run in mine if compare.is_training(run)], len(mine)
            mine = training or [run for run in mine if run.diverged_at is None]
            stuck = f"; {n - len(training)} of {n} not training" if len(training) < n else ""
            share, levels = "–", "–"
            if mine:
                shares = np.array([noise_share(run, probe) for run in mine])
                spread = f", {shares.min():.0%} to {shares.max():.0%}" if len(shares) > 1 else ""
                share = f"{shares.mean():.0%} (n = {len(shares)}{spread}{stuck})"
                one = quantities.same_batch(mine, probe, "beta")
                two = quantities.at_steps(quantities.VGG_Beta_Smooth(mine), one.steps)
                pair = [np.exp(np.mean([np.log(compare.window_mean(c)) for c in b.curves])) for b in (two, one)]
                levels = " → ".join(map(rounded, pair))
            name = NETWORK.get(model, model)
            row |= {f"{name}: share of ‖Δg‖² that is batch noise": share, f"{name}: β, two batches → one": levels}
        rows.append(row)
    return rows


def band_parts(runs: Sequence, bands: Mapping[str, Callable], direct: Sequence, grid, quantity: str) -> list[dict]:
    """Width of a band over the rates, measured in several ways, and what share of the first way's width is left.

    Args:
        runs: of both networks, all rates, one or more seeds; seeds without all rates, or with a diverged run, are left
            out, and so are those with a run that does not train where any seed has none.
        bands: name of the way → function from the runs of one network and seed to a ``Band``.
        direct, grid, quantity: runs with the direct probe, for the band from one point.

    Returns:
        One dict per network: ``network``, and per way the width (max − min, mean over the window, then over seeds) and
        the share of the first way's, and the width of the direct probe's band over η.
    """
    rows, gone = [], {run.config.seed for run in runs if run.diverged_at is not None}
    stuck = {run.config.seed for run in runs if not compare.is_training(run)}
    seeds = [seed for seed in quantities.seeds_at_every_rate(runs) if seed not in gone]
    seeds = [seed for seed in seeds if seed not in stuck] or seeds
    for model in dict.fromkeys(run.config.model for run in runs):
        row, first = {"network": NETWORK.get(model, model)}, None
        for name, make in bands.items():
            widths = []
            for seed in seeds:
                band = make([run for run in runs if (run.config.model, run.config.seed) == (model, seed)])
                widths.append(compare.window_mean(band.max_curve - band.min_curve))
            first = first or widths
            shares = np.array(widths) / np.array(first)
            text = f"{rounded(np.mean(widths))} (n = {len(widths)})" if widths else ""
            if widths and widths is not first:
                spread = f", {shares.min():.0%} to {shares.max():.0%}" if len(shares) > 1 else ""
                text = f"{rounded(np.mean(widths))} ({shares.mean():.0%} of it, n = {len(shares)}{spread})"
            row[name] = text if widths else "–"
        points = [quantities.probe_band(run, grid, quantity) for run in direct if run.config.model == model]
        widths = [compare.window_mean(band.max_curve - band.min_curve) for band in points]
        row["from one point (direct probe)"] = f"{rounded(np.mean(widths))} (n = {len(widths)})"
        rows.append(row)
    return rows


# --- Whole network or output layer -----------------------------------------------------------------------------------


def layer_rows(sweep: Sequence[Sequence], direct: Sequence[Sequence], one_batch, grid, quantity: str) -> list[dict]:
    """The same quantity over all parameters and over the output layer alone, by every way of measuring it.

    Args:
        sweep: runs (plain, BN) of the proxy at one rate; direct: runs (plain, BN) with the probe ``grid``.
        one_batch: the ``same_batch`` probe of (some of) the sweep's seeds.
        quantity: ``distance`` or ``beta``.

    Returns:
        One dict per way: ``measured by``, ``paired`` {layer: ``intervals.Paired`` of logarithms or None}, ``trains``
        {layer: whether there is a seed at which both networks train} and the two ratios as cells.
    """
    probed = [[run for run in side if one_batch in run.probes] for side in sweep]
    proxy = quantities.VGG_Grad_Pred if quantity == "distance" else quantities.VGG_Beta_Smooth
    measured = {
        "proxy": (sweep, proxy),
        "proxy on one batch": (probed, partial(quantities.same_batch, probe=one_batch, quantity=quantity)),
        "probe": (direct, partial(quantities.probe_summary, probe=grid, quantity=quantity)),
    }
    rows = []
    for name, (sides, values) in measured.items():
        for way, rows_of in {"same step": compare.ratio_rows, "same training loss": compare.loss_rows}.items():
            found = {layer: rows_of(*sides, partial(values, layer=layer))[0] for layer in ("all", "output")}
            row = {key: {layer: each[key] for layer, each in found.items()} for key in ("paired", "trains")}
            cells = {layer: ratio_cell(each["paired"], each["in_words"]) for layer, each in found.items()}
            row |= {"all parameters": cells["all"], "output layer": cells["output"]}
            rows.append({"measured by": f"{name}, {way}"} | row)
    return rows
