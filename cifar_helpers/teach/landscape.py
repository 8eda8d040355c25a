"""What notebooks 05 to 07 draw and tabulate alike, one call each: the probe, its controls, the proxy beside it.

A ``Landscape`` reads the runs when they are first asked for. Its methods keep a figure or a table by the notebook's
``Page``; a table is returned, to be shown.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

from .. import figures, plans, words
from ..measure import compare, evidence, quantities, trends
from ..measure.precision import precision_table
from ..measure.walks import Pair, Walks
from ..plans.landscape import BASE_RATE

PROBE = "probe: SGD, one point"  # title of a panel


class Landscape:
    """The runs of one of the notebooks 05 to 07, and what is made of them.

    Args:
        page: the notebook's ``Page``; number: of the notebook, such as ``"05"``.
        profile, seed, rates, gap: as in its settings.
    """

    def __init__(self, page, number: str, profile: str, seed: int, rates=None, gap: int = 1):
        self.page, self.number, self.profile, self.seed, self.rates = page, number, profile, seed, rates
        self.what = quantities.QUANTITIES[number]
        self.given = (gap,) if number == "06" else ()  # what the proxy takes between runs and layer

    # --- runs

    @functools.cached_property
    def narrow(self) -> Walks:
        """Both networks an eighth as wide, along the paper's 15 000 steps."""
        probes = plans.landscape.narrow_probes(self.profile)
        runs = self.page.runs(plans.landscape.narrow_runs(self.profile, self.seed), probes=probes)
        return Walks(runs, probes[0])

    @property
    def how_wide(self) -> str:
        """The width of the networks that are not ``narrow``; ``quick`` has none of full width."""
        return "full width" if self.page.plan.width == 1 else f"{self.page.plan.width:g} of the width"

    @functools.cached_property
    def wide(self) -> Walks:
        """Both networks at ``how_wide``, for fewer steps."""
        probes = plans.landscape.direct_probes(self.profile)
        runs = self.page.runs(plans.landscape.direct_runs(self.profile, self.seed), probes=probes)
        return Walks(runs, probes[0])

    @functools.cached_property
    def sweep(self) -> Pair:
        """Both networks at the handout's rates."""
        configs = plans.landscape.bn_sweep(self.profile, self.seed, rates=self.rates)
        return Pair(self.page.runs(configs, probes=plans.landscape.sweep_probes(self.profile, self.seed)))

    @functools.cached_property
    def first(self) -> Pair:
        """The sweep's first seed."""
        return self.sweep.where(lambda run: run.config.seed == self.seed)

    @functools.cached_property
    def one_batch(self):
        """The probe that takes the proxy's second gradient on the first one's batch."""
        return plans.landscape.same_batch(self.profile)

    @functools.cached_property
    def on_one_batch(self) -> Pair:
        """The sweep's runs that have it."""
        return self.sweep.where(lambda run: self.one_batch in run.probes)

    def same_batch(self, runs: Sequence, layer: str = "all"):
        """The proxy on one batch, a ``Band``."""
        return quantities.same_batch(runs, self.one_batch, self.what.name, layer)

    # --- the probe

    @functools.cache  # noqa: B019 (a notebook has one)
    def ways(self, walks: Walks) -> list[compare.Comparison]:
        """This notebook's quantity compared in three ways."""
        return walks.ways(self.what.name)

    def row(self, way: str, walks: Walks | None = None) -> dict:
        """What came of it at the same ``step``, ``loss`` or ``distance``; by default of the narrow networks."""
        return next(each.row for each in self.ways(walks or self.narrow) if each.way == way)

    def answers(self, walks: Walks | None = None) -> str:
        """The three ratios with their 95 % intervals, for a sentence."""
        found = {way: words.factor(self.row(way, walks)["paired"]) for way in compare.WAYS}
        return words.listed([f"{ratio} at the same {way}" for way, ratio in found.items()])

    def decided(self, below: str, above: str, walks: Walks | None = None) -> str:
        """On which side of 1 the three intervals lie, in the caller's words; those that agree are named together."""
        groups: dict[str, list[str]] = {}
        for way in compare.WAYS:
            row = self.row(way, walks)
            side = words.by_side(row["paired"], below, above, "undecided") if row["trains"] else "not judged"
            groups.setdefault(side, []).append(way)
        if len(groups) == 1:
            return f"{side} each time"
        return ", ".join(f"{side} at the same {words.listed(ways)}" for side, ways in groups.items())

    def widths_differ(self) -> str:
        """Where the intervals of the two widths do not meet, in words."""
        apart = []
        for way in compare.WAYS:
            found = [self.row(way, walks)["paired"] for walks in (self.narrow, self.wide)]
            ends = list(zip(*(each.interval for each in found if each and each.interval), strict=True))
            apart += [way] if ends and max(ends[0]) > min(ends[1]) else []
        return f"at the same {words.listed(apart)} they do not overlap" if apart else "they overlap each time"

    def title(self, found, neutral: str) -> str:
        """A claim where the interval of the ratio allows one."""
        return words.by_side(found, self.what.less, self.what.more, neutral)

    def band(self, walks: Walks) -> None:
        """The paper's figure: the band of the quantity over η along the run; ``NN_narrow`` or ``NN_probe``."""
        spent, loss = 1 / min(walks.grid.etas), self.what.name == "loss"  # β, if the shortest step uses up the gradient
        level = (spent, f"1 / shortest η = {spent:g}") if self.what.name == "beta" else ()
        name = "narrow" if walks is self.narrow else "probe"
        size = "⅛ of the width" if walks is self.narrow else self.how_wide
        neutral = f"{self.what.heading}, η from ½ to 4 × the rate"
        claim = self.title(self.ways(walks)[0].row["paired"], neutral)
        title = f"{claim}{', late in training' * (claim != neutral)} ({size})"
        if level and all(abs(top / level[0] - 1) < 0.1 for top in walks.level(self.what.name)):
            title = f"Late in training β is that of the shortest step in both networks ({size})"
        along = walks.along(self.what.name)
        look = {"log": not loss, "level": level, "top": 6 if loss else None}  # nats; BN's first step is far above
        figure = figures.landscape.probe_bands(along, self.what.axis, title, walks.idle, **look)
        caption = f"Lowest to highest value of {self.what.noun} over η, {size}, {walks.length}; thin: seeds."
        self.page.figure(figure, f"{self.number}_{name}", caption, walks.runs)

    def three_ways(self) -> None:
        """The figure of the three comparisons, on the narrow networks."""
        ways, walks, what = self.ways(self.narrow), self.narrow, self.what
        neutral = f"{what.heading}, compared in three ways"
        claim = self.title(ways[1].row["paired"], neutral)
        title = f"{claim}{', at the same training loss' * (claim != neutral)}"
        figure = figures.landscape.three_ways(ways, what.summary, title, walks.idle, what.cloud)
        caption = f"Three comparisons of {what.noun}, ⅛ of the width, {walks.length}; thin, dots: seeds."
        self.page.figure(figure, f"{self.number}_three_ways", caption, walks.runs)

    def probe_table(self):
        """The three comparisons at full width, and what is needed to read them: free of the weights' scale."""
        walks, what = self.wide, self.what
        ways = self.ways(walks)
        rows = compare.comparison_table(ways, what.unit)
        if what.name == "loss":
            row = compare.ratio_rows(*walks.both, lambda r: quantities.probe_summary(r, walks.grid, "change"))[0]
            rows.append(rows[0] | compare.as_row(row, "the same step, largest |L(w(η)) − L(w)|", what.unit))
        else:
            way = f"the same relative distance, scale-free: {'d‖w‖' if what.name == 'distance' else 'β‖w‖²'} (in nats)"
            rows.append(rows[-1] | compare.as_row(self.scale_free(walks), way, what.unit, " nats"))
        caption = f"{what.heading} at {self.how_wide}: geometric means over seeds; BN over no BN by seed."
        caption += evidence.not_finite(walks.both, walks.grid)
        return self.page.table(rows, f"{self.number}_probe_table", caption, walks.runs)

    def scale_free(self, walks: Walks) -> dict:
        """The row at the same relative distance of d‖w‖ or β‖w‖², which do not change if all weights are scaled."""
        return compare.distance_row(
            *walks.both, lambda run: quantities.probe_cloud(run, walks.grid, self.what.name, scale_free=True)
        )

    def width_table(self):
        """The three comparisons at both widths."""
        both = {"1": (self.wide.plain, self.ways(self.wide)), "⅛": (self.narrow.plain, self.ways(self.narrow))}
        caption = f"{self.what.heading} at both widths: BN over no BN, paired by seed."
        runs = [*self.wide.runs, *self.narrow.runs]
        return self.page.table(trends.width_table(both, self.what.unit), f"{self.number}_width_table", caption, runs)

    # --- all three quantities along the run

    @functools.cached_property
    def nine(self) -> dict[str, list[compare.Comparison]]:
        """Quantity → its three comparisons on the narrow networks."""
        return {name: self.narrow.ways(name) for name in trends.QUANTITIES}

    def nine_table(self):
        """The paper's three quantities, compared in three ways."""
        caption = f"The paper's three quantities, compared in three ways, ⅛ of the width, {self.narrow.length}."
        return self.page.table(trends.nine_answers(self.nine), f"{self.number}_nine_table", caption, self.narrow.runs)

    def nine_in_words(self) -> str:
        """How many of the nine are decided, and which way."""
        return trends.in_words(self.nine)

    def along_the_run(self, quantity: str) -> list[dict]:
        """The ratio of a quantity, one part of the narrow run after the other; ``trends.over_time``."""
        return trends.over_time(
            *self.narrow.both, lambda runs: quantities.probe_summary(runs, self.narrow.grid, quantity)
        )

    def over_time(self) -> None:
        """The figure of the three ratios along the run."""
        found = {heading: self.along_the_run(name) for name, heading in trends.QUANTITIES.items()}
        figure = figures.landscape.over_time(found, "BN over no BN at the same step, along the run (⅛ of the width)")
        caption = "How the three quantities change along the run; thin: seeds, shaded: 95 % interval of the mean."
        self.page.figure(figure, f"{self.number}_over_time", caption, self.narrow.runs)

    # --- its controls

    @functools.cached_property
    def checked(self) -> dict:
        """Control → its probe of the narrow runs."""
        probes = plans.landscape.narrow_probes(self.profile)[1:]
        return dict(zip(plans.landscape.direct_controls(self.profile), probes, strict=True))

    def controls(self) -> None:
        """The figure of the controls, on the narrow networks."""
        panels = evidence.control_panels(self.narrow.runs, self.narrow.grid, self.checked, self.what.name)
        title = f"{self.what.heading}, one thing changed at a time"
        figure = figures.landscape.controls(panels, self.what.cloud if self.number != "05" else "L (nats)", title)
        caption = f"Controls of {self.what.noun}, ⅛ of the width, {self.narrow.length}; thin: seeds, thick: mean."
        self.page.figure(figure, f"{self.number}_controls", caption, self.narrow.runs)

    @functools.cached_property
    def control_rows(self) -> list[dict]:
        """The ratio under every control."""
        return evidence.control_rows(*self.narrow.both, self.narrow.grid, self.checked, self.what.name)

    def survives(self) -> str:
        """In words: the ratio at the steps with controls, and which controls decide the other way, and where."""
        return f"BN over no BN is {evidence.survives(self.control_rows, self.checked['dense'].at[-1])}."

    def control_table(self):
        """The ratio under every control, in words."""
        caption = f"{self.what.heading} under every control: BN over no BN, paired by seed."
        rows, name = evidence.control_table(self.control_rows), f"{self.number}_control_table"
        return self.page.table(rows, name, caption, self.narrow.runs)

    def floor_table(self):
        """The probe in units of what another batch makes."""
        rows = evidence.floor_rows(self.narrow.runs, self.narrow.grid, self.checked["noise"], self.what.name)
        caption = f"{self.what.heading} in units of what another batch does, at the same weights."
        return self.page.table(rows, f"{self.number}_floor_table", f"{caption} 1: no more than that.", self.narrow.runs)

    # --- the handout's proxy

    def proxy_figure(
        self, name: str, panels: Mapping[str, Mapping], title: str, ylabel: str = "", log: bool = True
    ) -> None:
        """Bands of the sweep's first seed over the rates, a panel for each choice; as ``figures.landscape.bands``."""
        span = max(1, self.first.runs[0].config.steps // 50)
        strips = dict.fromkeys(panels, self.first.idle)
        ylabel = ylabel or self.what.proxy_axis
        figure = figures.landscape.bands(panels, ylabel, title, span, compare.smooth, sharey=True, idle=strips, log=log)
        caption = f"{title} (mean of {span} steps; thin: each rate). {compare.stuck_runs(self.first.runs)}"
        self.page.figure(figure, f"{self.number}_{name}", caption.strip(), self.first.runs)

    def proxy_layers(self, name: str, title: str) -> None:
        """The handout's picture twice: over all parameters, and over the output layer."""
        panels = {
            heading: self.first.bands(lambda runs, layer=layer: self.what.proxy(runs, *self.given, layer))
            for heading, layer in (("all parameters", "all"), ("output layer", "output"))
        }
        self.proxy_figure(name, panels, title)

    def proxy_table(self, layer: str = "all", one_batch: bool = False):
        """The proxy's ratio rate by rate, on two batches or on one, and how far the steps went."""
        pair = self.on_one_batch if one_batch else self.sweep

        def quantity(runs):
            return self.same_batch(runs, layer) if one_batch else self.what.proxy(runs, *self.given, layer)

        rows = evidence.proxy_rows(*pair.both, quantity, lambda runs: quantities.relative_move(runs, layer))
        window = compare.window_steps(pair.runs[0].config.steps)
        what, batches = "Gradient distance" if self.number == "06" else "Effective β", "one" if one_batch else "two"
        caption = f"{what} (proxy on {batches} batch{'es' * (not one_batch)}, {layer} parameters), {window}."
        name = f"{self.number}_{'same_batch' if one_batch else 'proxy'}_table"
        return self.page.table(rows, name, caption, pair.runs)

    def landscape_figure(self) -> None:
        """The handout's picture, of the first seed: band of the loss over the rates, and its width."""
        runs, total = self.first.runs, self.first.runs[0].config.steps
        stuck, rates = compare.stuck_runs(runs), sorted({run.config.lr for run in runs})
        title = "Adam at four rates: a stuck model makes a band wide" if stuck else "Adam at four rates"
        networks, span = self.first.bands(quantities.loss_band), max(1, total // 25)
        figure = figures.landscape.loss_landscape(networks, rates, compare.smooth, span, title, self.first.idle)
        caption = f"Loss landscape by the handout's proxy: band of the loss over the rates, {evidence.seeds(runs)}."
        self.page.figure(figure, f"{self.number}_loss_landscape", f"{caption} {stuck}".strip(), runs)

    @functools.cached_property
    def widths(self) -> dict[str, dict]:
        """How it was compared → ratio of the widths of the proxy's band; also over what trains, seeds and rates."""
        found = band_widths(self.sweep)
        alive = evidence.rates_that_train(self.sweep.runs)
        stuck = {run.config.seed for run in self.sweep.runs if not compare.is_training(run)}
        whole = self.sweep.where(lambda run: run.config.seed not in stuck)
        if stuck and whole.runs:
            row = {"note": f"seeds left out for a run that does not train: {', '.join(map(str, sorted(stuck)))}"}
            found["the same step, seeds whose runs all train"] = band_widths(whole)["the same step"] | row
        if len(alive) > 1:
            kept = self.sweep.where(lambda run: run.config.lr in alive)
            way = f"the same step, rates at which every run trains ({', '.join(f'{rate:g}' for rate in alive)})"
            found[way] = band_widths(kept)["the same step"]
        return found

    def width(self, way: str):
        """The paired ratio of the widths, of the first way of ``widths`` that holds these words; None without one."""
        return next((row["paired"] for name, row in self.widths.items() if way in name), None)

    def widths_table(self):
        """The ratio of the widths of the proxy's band, in words."""
        caption = "Width of the proxy's band over the rates: BN over no BN, paired by seed."
        return self.page.table(_width_rows(self.widths), f"{self.number}_proxy_table", caption, self.sweep.runs)

    def narrow_widths_table(self):
        """The same on the narrow networks."""
        runs = self.page.runs(plans.landscape.narrow_sweep(self.profile, self.seed))
        rows = _width_rows(band_widths(Pair(runs)))
        caption = "Width of the proxy's band over the rates on networks an eighth as wide: BN over no BN, by seed."
        return self.page.table(rows, f"{self.number}_narrow_proxy_table", caption, runs)

    def noise_table(self):
        """How much of the proxy is batch noise."""
        runs = self.on_one_batch.runs
        window = compare.window_steps(runs[0].config.steps)
        caption = f"Batch noise in the proxy: ‖Δg‖² and β with two batches and with one, {window}."
        return self.page.table(evidence.noise_rows(runs, self.one_batch), f"{self.number}_noise_table", caption, runs)

    @functools.cached_property
    def layers(self) -> list[dict]:
        """All parameters against the output layer, by every way of measuring; ``evidence.layer_rows``."""
        base = [[run for run in side if run.config.lr == BASE_RATE] for side in self.sweep.both]
        return evidence.layer_rows(base, self.wide.both, self.one_batch, self.wide.grid, self.what.name)

    def layer_side(self, layer: str, below: str, above: str) -> str:
        """Which way the proxy's ratio at the same step points over ``all`` parameters or the ``output`` layer."""
        row = self.layers[0]
        return words.side(row["paired"][layer], below, above, row["trains"][layer])

    def layer_table(self):
        """The same as a table."""
        rows = [{name: text for name, text in row.items() if name not in ("paired", "trains")} for row in self.layers]
        caption = "BN over no BN: all parameters against the output layer, paired by seed."
        return self.page.table(rows, f"{self.number}_layer_table", caption, [*self.sweep.runs, *self.wide.runs])

    def precision_table(self, at: Sequence[int]):
        """How far bf16 is from fp32 along one run of each network of the sweep, and the largest error of a gradient."""
        runs = [run for run in self.first.runs if run.config.lr == BASE_RATE] or self.first.runs[:1]
        configs, page = [run.config for run in runs], self.page
        rows, worst = precision_table(configs, page.images, at, page.device, page.store)
        caption = f"How far bf16 is from fp32 at identical weights and batches: gradients are off by up to {worst:.1%}."
        return self.page.table(rows, f"{self.number}_precision_table", caption, runs)

    # --- both beside one another

    def measured(self) -> dict[str, Callable]:
        """The proxy's two ways, from the runs of a network to a ``Band``: two batches, and one."""
        return {"proxy: two batches": self.same_steps, "proxy: one batch": self.same_batch}

    def side_by_side(self, title: str, ways: Mapping[str, Callable] | None = None) -> None:
        """The proxy measured in several ways, and the probe, of one seed: the first whose runs all train, if any does.

        Args:
            ways: title of a panel → function from the runs of a network to a ``Band``; by default ``measured``.
        """
        ways = ways or self.measured()
        asked = (self.on_one_batch if self.number != "05" else self.sweep).runs
        stuck = {run.config.seed for run in asked if not compare.is_training(run)}
        both = {run.config.seed for run in asked} & {run.config.seed for run in self.wide.runs}
        seed = min(both - stuck or {asked[0].config.seed})
        swept, walked = (pair.where(lambda run: run.config.seed == seed) for pair in (self.sweep, self.wide))
        panels = {name: swept.bands(make) for name, make in ways.items()}
        panels[PROBE] = walked.bands(lambda runs: quantities.probe_band(runs[0], self.wide.grid, self.what.name))
        strips = dict.fromkeys(ways, swept.idle) | {PROBE: walked.idle}
        spans = {name: max(1, len(next(iter(bands.values())).steps) // 50) for name, bands in panels.items()}
        heading, loss = f"{title} (seed {seed})", self.what.name == "loss"
        look = {"sharex": False, "sharey": True, "idle": strips, "log": not loss, "top": 4.5 if loss else None}
        figure = figures.landscape.bands(panels, self.what.proxy_axis, heading, spans, compare.smooth, **look)
        caption = f"{title}: {', '.join(panels)}. {compare.stuck_runs(swept.runs)}".strip()
        self.page.figure(figure, f"{self.number}_side_by_side", caption, [*swept.runs, *walked.runs])

    def parts_table(self, ways: Mapping[str, Callable] | None = None):
        """What the proxy's band is made of: its width in several ways, and that of the band from one point."""
        ways = ways or self.measured()
        pair = self.on_one_batch if self.number != "05" else self.sweep
        rows = evidence.band_parts(pair.runs, ways, self.wide.runs, self.wide.grid, self.what.name)
        stuck = {run.config.seed for run in pair.runs if not compare.is_training(run)}
        some = stuck < {run.config.seed for run in pair.runs}
        left_out = "; n: seeds whose runs train at every rate" if some else "; not all of its runs train"
        of = f"{evidence.seeds(pair.runs)}{left_out if stuck else ''}"
        caption = f"Width of the proxy's band over the rates ({self.what.unit}), last fifth, {of}."
        return self.page.table(rows, f"{self.number}_parts_table", caption, [*pair.runs, *self.wide.runs])

    def same_steps(self, runs: Sequence):
        """The proxy's band at the steps at which one batch was used too."""
        return quantities.at_steps(self.what.proxy(runs), self.same_batch(runs).steps)


def band_widths(pair: Pair) -> dict[str, dict]:
    """Width of the handout's band over the rates, compared at the same step and at the same loss: the row of each."""
    sides = [quantities.sweeps(side) for side in pair.both]
    ways = {"the same step": compare.ratio_rows, "the same training loss": compare.loss_rows}
    return {way: rows_of(*sides, quantities.sweep_width)[0] for way, rows_of in ways.items()}


def _width_rows(found: Mapping[str, Mapping]) -> list[dict]:
    """The ratio of the bands' widths by way of comparing, as rows of a table."""
    return [
        {"compared at": way, "BN / no BN": words.ratio_cell(row["paired"], row["ratio"]), "note": row["note"]}
        for way, row in found.items()
    ]
