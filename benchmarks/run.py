"""Side-by-side timings (``make bench``): alternating runs, medians, written to benchmarks/results.json.

``python benchmarks/run.py probe`` measures one part anew and keeps the others' results.

Each comparison runs its sides in turn within every round, so that a slow minute of the machine hits all of them.
"""

import contextlib
import functools
import io
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from cifar_course.cluster import pool
from cifar_helpers import models
from cifar_helpers.data.batches import Batches, normalise
from cifar_helpers.data.images import load_cifar10
from cifar_helpers.env import (
    choose_device,
    keep_freed_memory,
    machine_card,
    read_json,
    resolve_precision,
    show_anything,
    write_atomically,
)
from cifar_helpers.measure import ranking
from cifar_helpers.models.tables import forward_flops
from cifar_helpers.plans import recipes
from cifar_helpers.plans.jobs import Job
from cifar_helpers.training.build import forward_context
from cifar_helpers.training.config import RunConfig
from cifar_helpers.training.loop import Recorder, train
from cifar_helpers.training.optim import FilterMuon
from cifar_helpers.training.prober import Prober
from cifar_helpers.training.run import get_run
from cifar_helpers.training.store import Store

BATCH, ROUNDS, STEPS, SMALL_STEPS = 128, 7, 10, 60
# airbench94 as it was run on two cores with these images: 90.5 % with test-time flips.
AIRBENCH_STEPS, AIRBENCH_BATCH, AIRBENCH_SECONDS = 476, 1024, 1017


class AsTorchvision(Dataset):
    """What ``torchvision.datasets.CIFAR10`` does with its array, on the images at hand."""

    def __init__(self, images, labels, transform):
        self.data, self.targets = images.permute(0, 2, 3, 1).contiguous().numpy(), labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


def loader(split, augment: bool, workers: int) -> DataLoader:
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if augment else []
    steps += [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    dataset = AsTorchvision(*split, transforms.Compose(steps))
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0, drop_last=True)


def alternate(sides: dict, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Call every side once per round; a side returns a rate or a time. The first round warms up and is dropped."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, side in sides.items():
            value = side()
            if round_:
                values[name].append(value)
        print(
            f"  round {round_}/{rounds}: " + ", ".join(f"{n} {v[-1]:.4g}" for n, v in values.items() if v), flush=True
        )
    return values


def synchronise(device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pipeline(split, device) -> dict[str, list[float]]:
    """Images per second with crop and flip."""

    def ours() -> float:
        batches = Batches(*split, BATCH, 0, device, ("crop", "flip"))
        _ = batches[0]
        synchronise(device)
        began = time.perf_counter()
        for _step, _x, _y in batches.steps(0, 150):
            pass
        synchronise(device)
        return 150 * BATCH / (time.perf_counter() - began)

    def torchvision(workers: int):
        small = (split[0][:6400], split[1][:6400])
        batches = loader(small, True, workers)

        def rate() -> float:
            iterator = iter(batches)
            x, _ = next(iterator)  # worker start-up is not counted
            x.to(device)
            began = time.perf_counter()
            count = sum(len(x.to(device)) for x, _ in iterator)
            return count / (time.perf_counter() - began)

        return rate

    sides = {"ours": ours, "0 workers": torchvision(0), "2 workers": torchvision(2)}
    return alternate(sides)


def our_training(split, device, precision: str, gradients: bool):
    """Seconds per step of the course's loop."""
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(0)
    model = models.VGG_A_BatchNorm().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = Batches(*split, BATCH, 0, device)
    recorder = Recorder(model, models.output_layer(model), gradients)
    position = 0

    def seconds() -> float:
        nonlocal position
        synchronise(device)
        began = time.perf_counter()
        train(model, batches, optimizer, position + STEPS, recorder, position, forward_context(precision, device))
        recorder.flush()
        synchronise(device)
        position += STEPS
        return (time.perf_counter() - began) / STEPS

    return seconds


def handout_training(split, device):
    """Seconds per step of the handout's way: DataLoader with 2 workers, fp32, NCHW, ``.item()`` at every step."""
    torch.manual_seed(0)
    model = models.VGG_A_BatchNorm().to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = loader(split, False, 2)
    losses = []

    def seconds() -> float:
        iterator = iter(batches)
        next(iterator)  # worker start-up is not counted
        synchronise(device)
        began = time.perf_counter()
        for _, (x, y) in zip(range(STEPS), iterator, strict=False):
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return (time.perf_counter() - began) / STEPS

    return seconds


def small_ours(split, device, network: str):
    """Images per second of the course's loop on a small network, crop and flip included, at default precision."""
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(0)
    model = getattr(models, network)().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batches, context = (
        Batches(*split, BATCH, 0, device, ("crop", "flip")),
        forward_context(resolve_precision("auto", device), device),
    )
    recorder, position = Recorder(model, models.output_layer(model), gradients=False), 0

    def rate() -> float:
        nonlocal position
        began = time.perf_counter()
        train(model, batches, optimizer, position + SMALL_STEPS, recorder, position, context)
        recorder.flush()
        position += SMALL_STEPS
        return SMALL_STEPS * BATCH / (time.perf_counter() - began)

    return rate


def small_plain(split, device, network: str):
    """Images per second of a plain loop on the same network: DataLoader without workers, crop and flip, fp32."""
    torch.manual_seed(0)
    model = getattr(models, network)().to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batches = loader(split, True, 0)

    def rate() -> float:
        began, count = time.perf_counter(), 0
        for _, (x, y) in zip(range(SMALL_STEPS // 3), batches, strict=False):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
            count += len(y)
        loss.item()
        return count / (time.perf_counter() - began)

    return rate


def fast_steps(split, device, kind: str):
    """Seconds per image of a step of the fast recipe, or of airbench94's network under Nesterov SGD.

    Args:
        kind: the side of the fast recipe's images in pixels; ``airbench94`` as it is written, with weights in half
            precision (bf16 on a CPU) and the C library's own memory settings; ``airbench94, tuned`` at the precision
            that is quicker here and with our memory settings.
    """
    reference, precision = kind.startswith("airbench94"), resolve_precision("auto", device)
    as_written = kind == "airbench94"
    if device.type == "cpu" and not as_written:
        keep_freed_memory()
    torch.manual_seed(0)
    size = AIRBENCH_BATCH if reference else recipes.FAST_BATCH
    sizes = () if reference else ((math.inf, int(kind)),)
    batches = Batches(*split, size, 0, device, ("shift", "alternating_flip"), sizes=sizes)
    model = models.FastNet()
    model.prepare(batches[0][0].float().cpu())
    model = model.to(device, memory_format=torch.channels_last).train()
    context, dtype = forward_context(precision, device), torch.float32
    if as_written or (reference and precision == "bf16"):
        dtype, context = torch.bfloat16, forward_context("fp32", device)
    model = model.to(dtype)
    if reference:
        optimizer = torch.optim.SGD(
            [p for p in model.parameters() if p.requires_grad], lr=1e-3, momentum=0.85, nesterov=True
        )
    else:
        optimizer = FilterMuon(model.parameters(), sgd_lr=53.0, head_lr=670.0)
    position = 0

    def seconds() -> float:
        nonlocal position
        began = time.perf_counter()
        for _, x, y in batches.steps(position, position + 4):
            x = x.to(dtype)
            with context():
                logits = model(x)
            loss = F.cross_entropy(logits.float(), y, label_smoothing=0.2)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        synchronise(device)
        position += 4
        return (time.perf_counter() - began) / (4 * size)

    return seconds


def serve(connection, name: str) -> None:
    """Body of one side's process: answer every request with one measurement."""
    device, split = choose_device("auto"), load_cifar10("auto").split("train")
    kind, _, network = name.partition(" ")
    if name == "handout":
        measure = handout_training(split, device)
    elif kind in ("small_ours", "small_plain"):
        measure = (small_ours if kind == "small_ours" else small_plain)(split, device, network)
    elif kind == "fast":
        measure = fast_steps(split, device, network)
    else:
        measure = our_training(split, device, name.split()[1].rstrip(","), name.endswith("recording"))
    while connection.recv():
        connection.send(measure())


def in_processes(names: list[str], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Measure every side in a process of its own, since the C library's memory settings hold for a whole process."""
    context, pipes, processes = multiprocessing.get_context("spawn"), {}, []
    for name in names:
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, name)))
        processes[-1].start()

    def ask(name: str) -> float:
        pipes[name].send(True)
        return pipes[name].recv()

    values = alternate({name: functools.partial(ask, name) for name in names}, rounds)
    for name, process in zip(names, processes, strict=True):
        pipes[name].send(False)
        process.join()
    return values


def convolution_peak(device, precision: str):
    """Highest FLOP/s of VGG-A's own 3×3 convolutions, forward alone."""
    shapes = [(128, 256, 256, 8), (128, 256, 256, 16), (128, 512, 512, 4), (128, 128, 256, 8)]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    pairs = []
    for images, channels, filters, size in shapes:
        x = torch.randn(images, channels, size, size, device=device, dtype=dtype)
        layer = torch.nn.Conv2d(channels, filters, 3, padding=1, bias=False, device=device, dtype=dtype)
        pairs.append((layer.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)))

    def peak() -> float:
        best = 0.0
        with torch.inference_mode():
            for layer, x in pairs:
                flops = 2 * x.shape[0] * layer.weight.numel() * x.shape[2] * x.shape[3]
                layer(x)
                synchronise(device)
                began = time.perf_counter()
                for _ in range(8):
                    layer(x)
                synchronise(device)
                best = max(best, 8 * flops / (time.perf_counter() - began))
        return best

    return peak


def training_flops(split, device) -> int:
    """Floating-point operations of one training step, counted by torch."""
    model = models.VGG_A_BatchNorm().to(device)
    with FlopCounterMode(display=False) as counter:
        images = normalise(split[0][:BATCH].to(device), (0.5,) * 3, (0.5,) * 3)
        F.cross_entropy(model(images), split[1][:BATCH].to(device)).backward()
    return counter.get_total_flops()


def probing(split, device) -> dict[str, list[float]]:
    """Seconds per gradient evaluation: in a plain backward pass, and in a probe of 7 points that computes its own g."""
    if device.type == "cpu":
        keep_freed_memory()
    torch.manual_seed(0)
    model = models.VGG_A_BatchNorm().to(device, memory_format=torch.channels_last).train()
    batch, prober, etas = Batches(*split, BATCH, 0, device)[0], Prober(model), [0.01 * i for i in range(1, 8)]

    def plain() -> float:
        began = time.perf_counter()
        for _ in range(len(etas) + 1):
            model.zero_grad(set_to_none=True)
            F.cross_entropy(model(batch[0]), batch[1]).backward()
        synchronise(device)
        return (time.perf_counter() - began) / (len(etas) + 1)

    def probe() -> float:
        model.zero_grad(set_to_none=True)
        began = time.perf_counter()
        prober.along(batch, etas)
        synchronise(device)
        return (time.perf_counter() - began) / (len(etas) + 1)

    return alternate({"plain": plain, "probe": probe})


def row(what: str, value: str, demanded: str, n: int = ROUNDS) -> dict:
    return {"comparison": what, "measured": value, "demanded": demanded, "n": n}


def bench_pipeline(split, device) -> tuple[list[dict], dict]:
    rates, rows = pipeline(split, device), []
    for workers, demanded in (("0 workers", 8), ("2 workers", 4)):
        ours, theirs = (statistics.median(rates[name]) for name in ("ours", workers))
        text = f"{ours / theirs:.1f}× ({ours:,.0f} against {theirs:,.0f} images/s)"
        rows.append(row(f"crop + flip pipeline against DataLoader, {workers}", text, f"≥ {demanded}×"))
    return rows, {"pipeline": rates}


def bench_training(split, device) -> tuple[list[dict], dict]:
    median, rows = statistics.median, []
    precisions = dict.fromkeys(("fp32", resolve_precision("auto", device)))
    ours = [f"ours {precision}{what}" for precision in precisions for what in ("", ", recording")]
    times = in_processes(["handout", *ours])
    for precision, demanded in (("bf16", "≥ 1.8× on a bf16 CPU"), ("fp32", "≥ 1.15×")):
        if f"ours {precision}" in times:
            ours, theirs = median(times[f"ours {precision}"]), median(times["handout"])
            text = f"{theirs / ours:.2f}× ({ours:.3f} against {theirs:.3f} s/step)"
            what = f"VGG-A + BN step, {precision}, data included, against the handout's loop (fp32)"
            rows.append(row(what, text, demanded))
    for precision in ("bf16", "fp32"):
        if f"ours {precision}" in times:
            pairs = zip(times[f"ours {precision}, recording"], times[f"ours {precision}"], strict=True)
            cost = median([recorded / bare - 1 for recorded, bare in pairs])
            what = f"cost of recording every step, {precision} (median over rounds)"
            rows.append(row(what, f"{cost:+.1%}", "≤ 10 %"))
    flops = training_flops(split, device)
    peaks = alternate({p: convolution_peak(device, p) for p in precisions})
    for precision, values in peaks.items():
        reached, peak = flops / median(times[f"ours {precision}"]), median(values)
        text = f"{reached / peak:.0%} ({reached / 1e9:,.0f} of {peak / 1e9:,.0f} GFLOP/s)"
        rows.append(row(f"training's share of the measured convolution peak, {precision}", text, "reported"))
    return rows, {"training": times, "peak": peaks}


def bench_probe(split, device) -> tuple[list[dict], dict]:
    times = probing(split, device)
    ratios = [probe / plain for probe, plain in zip(times["probe"], times["plain"], strict=True)]
    text = f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f} over rounds)"
    what = "direct probe with 7 points, against 8 plain gradient evaluations, VGG-A + BN, fp32 (median over rounds)"
    return [row(what, text, "≤ 1.15×")], {"probe": times}


def bench_small(split, device) -> tuple[list[dict], dict]:
    rows, raw = [], {}
    for network, demanded in (("MyNet", 2.0), ("LeNet5", 2.5)):
        rates = in_processes([f"small_ours {network}", f"small_plain {network}"])
        ours, theirs = rates.values()
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        text = f"{statistics.median(ratios):.1f}× ({statistics.median(ours):,.0f} against "
        text += f"{statistics.median(theirs):,.0f} images/s)"
        what = f"{network}, training with crop + flip at default precision, against a plain fp32 DataLoader loop"
        rows.append(row(what, text, f"≥ {demanded:g}×"))
        raw |= rates
    return rows, {"small": raw}


def bench_fast(split, device) -> tuple[list[dict], dict]:
    """The fast recipe: test accuracy and minutes of every recorded seed (the first is trained where there is none)."""
    data, rows, store = load_cifar10("auto"), [], Store()
    configs = recipes.fast("laptop", split="all")
    recorded = [run for run in (store.get(config, data.fingerprint) for config in configs) if run]
    runs = recorded or [get_run(configs[0], data, device)]
    accuracies = [ranking.accuracy(run, "test") for run in runs]
    seconds = [run.provenance["train_seconds"] for run in runs]
    for run, accuracy, took in zip(runs, accuracies, seconds, strict=True):
        text = f"{accuracy:.2%} in {took / 60:.1f} min ({took:.0f} s)"
        what = f"fast recipe, seed {run.config.seed}, test accuracy with flips on {data.label}"
        rows.append(row(what, text, "≥ 90.5 %", 1))
    took, config = statistics.median(seconds), runs[0].config
    text = f"{took / AIRBENCH_SECONDS:.2f}× ({took:.0f} against {AIRBENCH_SECONDS} s)"
    what = "fast recipe's training time against the 1 017 s reported for airbench94 on two other, quicker cores"
    rows.append(row(what, text, "reported", len(runs)))
    (share, side), *_ = config.sizes
    timed = in_processes([f"fast {side}", "fast 32", "fast airbench94", "fast airbench94, tuned"], rounds=4)
    small, full, *theirs = (statistics.median(values) for values in timed.values())
    images = config.steps * config.batch_size
    whole = (share * small + (1 - share) * full) * images
    for per_image, how, demanded in zip(
        theirs, ("as it is written", "at our precision and memory settings"), ("≤ 0.6×", "reported"), strict=True
    ):
        reference = per_image * AIRBENCH_STEPS * AIRBENCH_BATCH
        text = f"{whole / reference:.2f}× ({whole:.0f} against {reference:.0f} s)"
        what = f"{config.steps} steps of the fast recipe against {AIRBENCH_STEPS} of airbench94's network, {how}"
        rows.append(row(f"{what}, both timed here", text, demanded))
    each = [forward_flops(models.FastNet(), (3, size, size)) for size in (side, 32)]
    flops, rate = 3 * (share * each[0] + (1 - share) * each[1]), images / took
    peak = statistics.median(alternate({"peak": convolution_peak(device, resolve_precision("auto", device))})["peak"])
    text = f"{flops * rate / peak:.0%} ({flops * rate / 1e9:,.0f} of {peak / 1e9:,.0f} GFLOP/s), {rate:,.0f} images/s"
    rows.append(row("fast recipe's share of the measured convolution peak", text, "reported", len(runs)))
    return rows, {"fast": timed, "accuracy": accuracies, "seconds": seconds}


def bench_batch(split, device) -> tuple[list[dict], dict]:
    """Workers of one thread each on a plan of small runs, and what driving and planning cost."""
    data = load_cifar10("auto")
    source = os.environ.get("CIFAR10_ROOT") or "auto"
    settings = {"steps": 468, "batch_size": BATCH, "eval_every": 468, "eval_items": 1000, "test": False}
    jobs = [Job(RunConfig("LeNet5", seed=seed, **settings)) for seed in range(8)]

    def drive(workers: int) -> tuple[float, float]:
        """Seconds for the whole plan, and of these the ones per run that its training did not take."""
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            store, began = Store(Path(folder)), time.perf_counter()
            pool.train(jobs, source, data.fingerprint, [str(device)], workers, store, threads=1)
            took = time.perf_counter() - began
            records = [store.get(job.config, data.fingerprint) for job in jobs]
            training = sum(record.provenance["wall_seconds"] for record in records)
        return took, (workers * took - training) / len(jobs)

    def planned() -> float:
        began = time.perf_counter()
        command = [sys.executable, "-m", "cifar_course.report", "--profile", "full", "--plan"]
        subprocess.run(command, capture_output=True, check=True)
        return time.perf_counter() - began

    one, two, plans = [], [], []
    for _ in range(3):
        one.append(drive(1))
        two.append(drive(2))
        plans.append(planned())
    ratios = [b[0] / a[0] for a, b in zip(one, two, strict=True)]
    seconds = [statistics.median(took for took, _ in each) for each in (two, one)]
    text = f"{statistics.median(ratios):.2f}× ({seconds[0]:.0f} against {seconds[1]:.0f} s)"
    what = f"{len(jobs)} runs of LeNet-5 by two workers of one thread each, against one such worker, start included"
    rows = [row(what, text, "≤ 0.6×", len(ratios))]
    overhead = statistics.median(over for _, over in one)
    what = "what driving costs per run, the worker's start included, one worker"
    rows.append(row(what, f"{overhead:.1f} s", "< 3 s", len(one)))
    what = "the plan of the whole course in full, printed"
    rows.append(row(what, f"{statistics.median(plans):.1f} s", "< 5 s", len(plans)))
    return rows, {"one worker": one, "two workers": two, "plan": plans}


PARTS = {
    "pipeline": bench_pipeline,
    "training": bench_training,
    "probe": bench_probe,
    "small": bench_small,
    "fast": bench_fast,
    "batch": bench_batch,
}


def main(wanted: list[str]) -> None:
    show_anything()
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(unknown)}; choose from {', '.join(PARTS)}.")
    device, target = choose_device("auto"), Path(__file__).with_name("results.json")
    split = load_cifar10("auto").split("train")
    parts = (read_json(target) or {}).get("parts", {})
    for name in wanted or PARTS:
        print(name, flush=True)
        rows, raw = PARTS[name](split, device)
        made = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_card(device)}
        parts[name] = made | {"rows": rows, "raw": raw}
        for entry in rows:
            print(f"{entry['comparison']}: {entry['measured']} (demanded {entry['demanded']}, n = {entry['n']})")
    write_atomically(target, json.dumps({"parts": {name: parts[name] for name in PARTS if name in parts}}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
