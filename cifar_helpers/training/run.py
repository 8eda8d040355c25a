"""From one ``RunConfig`` to its ``RunRecord``: build data, model and optimizer, train, keep the record.

python -m cifar_helpers.training.run CONFIG.json --data cifar10 --device auto
"""

import argparse
import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from .. import models, signals
from ..data.batches import evaluation_batches
from ..data.images import ImageData, load_cifar10
from ..env import (
    CourseError,
    choose_device,
    command_line,
    keep_freed_memory,
    machine_card,
    resolve_precision,
    true_fp32,
    usual_torch,
    write_tensors,
)
from ..models import owncode
from . import memory, probes
from .build import (
    build_criterion,
    build_model,
    build_optimizer,
    build_schedule,
    forward_context,
    host_state,
    l1_penalty,
    move,
    prepare,
    training_batches,
    weights_hash,
)
from .config import RunConfig
from .loop import ProbeRecorder, Progress, Recorder, evaluate, load_checkpoint, save_checkpoint, train
from .probes import ProbeConfig
from .store import RunRecord, Store

FLUSH_EVERY = 50  # steps; also the most that a killed run can lose once CHECKPOINT_SECONDS have passed
CHECKPOINT_SECONDS = float(os.environ.get("CIFAR_CHECKPOINT_SECONDS") or 30)
EVALUATION_ITEMS = 1000  # training images whose eval-mode loss is followed


@usual_torch()
def get_run(
    config: RunConfig,
    data: ImageData,
    device="auto",
    store: Store | None = None,
    probes: Sequence[ProbeConfig] = (),
    wait: bool = True,
) -> RunRecord:
    """Return the record of the run, training it first where there is none.

    Several processes may ask for the same run: one trains, the others wait. A killed run goes on from its checkpoint.

    Args:
        probes: attachments wanted with it. Where a finished run lacks one it is trained once more for it, and its
            record stays as it is.
        wait: for another process that is training the run.

    Raises:
        CourseError: the config does not fit the data or the models, the device is missing or out of memory, or the
            record cannot be written.
        BusyError: another process is training it, and ``wait`` is false.
    """
    store = store or Store()
    device = choose_device(device)
    record = store.get(config, data.fingerprint)
    if record and not _stale(record, store):
        record = _with_probes(record, probes)
        if len(record.probes) == len(set(probes)):
            return record
    with store.lock(config, data.fingerprint, wait):  # what cannot be used is moved aside by its holder alone
        # Another process may have trained it meanwhile.
        record = store.get(config, data.fingerprint, discard_damaged=True)
        if record and _stale(record, store):
            store.discard(record.folder, "was made by other model code: the initial weights differ")
            record = None
        # Another folder's probes would be those of another training: a published record is trained again, with all.
        found = _with_probes(record, probes).probes if record and store.root in record.folder.parents else {}
        missing = [probe for probe in dict.fromkeys(probes) if probe not in found]
        if missing or not record:
            record = _train_run(config, data, device, store, missing, record)
    return _with_probes(record, probes)


def _with_probes(record: RunRecord, wanted: Sequence[ProbeConfig]) -> RunRecord:
    return dataclasses.replace(record, probes=probes.read_all(record.folder, wanted))


def get_runs(
    configs: Sequence[RunConfig],
    data: ImageData,
    device="auto",
    store: Store | None = None,
    probes: Sequence[ProbeConfig] | Callable[[RunConfig], Sequence[ProbeConfig]] = (),
):
    """Return the records of several runs, in order, and print how many were trained now.

    The arguments and errors are those of ``get_run``; ``probes`` may be a function that gives those of a config.
    """
    began = time.time()
    wanted = [probes(config) if callable(probes) else probes for config in configs]
    records = [get_run(config, data, device, store, each) for config, each in zip(configs, wanted, strict=True)]
    trained = {r.key for r in records if r.provenance["finished_unix"] >= began}
    probed = {r.key for r in records if any(p.provenance["finished_unix"] >= began for p in r.probes.values())}
    again, cards = len(probed - trained), sorted({r.card for r in records})
    repeated = f"{again} repeated for their probes, " if again else ""
    read = len(records) - len(trained) - again
    many = f"{len(records)} run{'s' * (len(records) != 1)}"
    print(f"{many}: {len(trained)} trained now, {repeated}{read} read from records ({', '.join(cards)}).")
    return records


def _stale(record: RunRecord, store: Store) -> bool:
    """Whether today's model code starts from other weights than the record's; of a published one it is only said."""
    if not store.trains:
        return False
    config = record.config
    untrained = RunConfig(config.model, config.model_args, seed=config.seed)
    network = getattr(models, config.model, None)
    code = owncode.digest(network) if owncode.is_registered(network) else ""
    if _initial_weights(network, code, untrained.to_json()) == record.provenance["initial_weights"]:
        return False
    if store.root in record.folder.parents:
        return True
    print(f"{config.describe()}: published from other initial weights (another platform or version).", flush=True)
    return False


@functools.lru_cache(maxsize=256)
def _initial_weights(network: type, code: str, config: str) -> str:
    """Hash of a config's untrained model; the class and its code are part of the question, since they may change."""
    return weights_hash(build_model(RunConfig.from_json(config)))


def _train_run(config, data, device, store, wanted: Sequence[ProbeConfig], finished: RunRecord | None) -> RunRecord:
    """Train a run and save its record; where a ``finished`` one lies in the store, save only the probes wanted."""
    if wanted and (config.loss != "cross_entropy" or config.label_smoothing or config.l1):
        raise CourseError(f"{config.describe()}: probes measure plain cross-entropy, and this run has another loss.")
    memory.check(config, device)
    if device.type == "cpu":
        keep_freed_memory()
    repeated = finished if finished and store.root in finished.folder.parents else None
    if repeated:
        print(f"  {config.describe()} is recorded, without {len(wanted)} of its probes: trained once more for them.")
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), true_fp32(device):
            torch.manual_seed(config.seed)  # dropout
            run = _Run(config, data, device, store, wanted, repeated)
            run.go()
    except torch.OutOfMemoryError as error:
        raise CourseError(
            f"{config.describe()}: out of memory on {device}. Fewer runs at a time on one device (--jobs-per-gpu), a "
            "smaller batch_size, closing other programs on the device, or device='cpu' help. Finished runs are kept."
        ) from error
    return run.save()


def _is_due(config: RunConfig, steps_per_epoch: int, step: int) -> bool:
    """Whether the values recorded so far are fetched after this many steps."""
    wanted = step % config.eval_every == 0 or step == config.steps or step in config.snapshots
    wanted = wanted or signals.asked() is not None
    return wanted or step % min(FLUSH_EVERY, steps_per_epoch) == 0


def _other_batch(batches, step: int, i: int):
    """Another batch: the one that a later epoch has at the same place."""
    return batches[step + (i + 1) * batches.steps_per_epoch]


class _Run:
    """One training in progress: what happens at a flush."""

    def __init__(self, config, data, device, store, wanted, repeated):
        self.config, self.data, self.device, self.store, self.repeated = config, data, device, store, repeated
        self.model = model = build_model(config)
        self.initial_weights = weights_hash(model)
        self.batches = batches = training_batches(config, data, device)
        prepare(model, config, data)
        move(model, device).train()
        precision = resolve_precision(config.precision, device)
        self.autocast = forward_context(precision, device)
        self.optimizer, self.criterion = build_optimizer(config, model), build_criterion(config)
        output = models.output_layer(model)
        # What these two ask for knows the batches and not this run: else its tensors would wait for Python's search
        # for cycles, after an error too.
        is_due = functools.partial(_is_due, config, batches.steps_per_epoch)
        other = functools.partial(_other_batch, batches)
        self.recorder = Recorder(model, output, config.gradients, config.gaps, is_due)
        self.probes = [ProbeRecorder(each, model, output, other, precision == "fp32") for each in wanted]
        self.checkpoint = store.checkpoint_path(config, data.fingerprint)
        for left in self.checkpoint.parent.glob(f".{self.checkpoint.name}-*"):
            left.unlink(missing_ok=True)  # half-written by a killed process
        self.schedule = build_schedule(config, self.optimizer)
        self.epochs: list[dict] = []
        self.seconds, self.earlier_wall, self.began = 0.0, 0.0, time.monotonic()
        self.resumed, self.diverged_at, self.start, self.earlier_machines = 0, None, 0, []
        self.machine = machine_card(device) | {"precision": precision}
        expected = {"initial_weights": self.initial_weights, "repeated": bool(repeated)}
        restored = load_checkpoint(self.checkpoint, model, self.optimizer, self.recorder, expected, self.probes)
        if restored:
            self.start, extra = restored
            self.epochs, self.seconds, self.resumed = extra["epochs"], extra["seconds"], extra["resumed"] + 1
            self.earlier_wall, self.earlier_machines = extra["wall_seconds"], extra["machines"]
            for probe in self.probes:
                probe.seconds = extra["probe_seconds"][probe.config.name]
            same = ("device", "precision", "threads", "torch", "git_revision")
            changed = [n for n in same if self.earlier_machines[-1][n] != self.machine[n]]
            remark = f" ({', '.join(changed)} changed since: not bit for bit)" if changed else ""
            print(f"  train {config.describe()} · goes on from step {self.start}{remark}", flush=True)

    @property
    def wall_seconds(self) -> float:
        """Time spent on this run so far, evaluation and checkpoints included, over all resumptions."""
        return self.earlier_wall + time.monotonic() - self.began

    def go(self) -> None:
        self.progress = Progress(self.config.describe(), self.config.steps, self.start)
        if self.start == 0:
            self.keep_snapshot(0)
        self.probing = sum(probe.seconds for probe in self.probes)
        self.saved = self.clock = time.monotonic()
        try:
            train(
                self.model,
                self.batches,
                self.optimizer,
                self.config.steps,
                self.recorder,
                self.start,
                self.autocast,
                self.on_flush,
                self.probes,
                self.criterion,
                self.penalty if self.config.l1 else None,
                self.schedule,
            )
        finally:
            self.progress.close()

    def penalty(self) -> torch.Tensor:
        return self.config.l1 * l1_penalty(self.model.parameters())

    def on_flush(self, step: int) -> bool:
        """Fetch the values, then check, evaluate, save, show; True ends a run whose loss is no longer finite."""
        self.recorder.flush()
        probing = sum(probe.seconds for probe in self.probes)
        self.seconds += time.monotonic() - self.clock - (probing - self.probing)
        self.probing = probing
        for probe in self.probes:
            probe.flush()
        self.diverged_at = self.recorder.first_bad_step()
        if self.diverged_at is not None:
            self.recorder.steps = {n: values[: self.diverged_at + 1] for n, values in self.recorder.steps.items()}
            for probe in self.probes:
                probe.keep_until(self.diverged_at)
            print(f"  train {self.config.describe()} · diverged at step {self.diverged_at} (recorded)", flush=True)
            return True
        self.keep_snapshot(step)
        evaluation = None
        if not self.repeated and (step % self.config.eval_every == 0 or step == self.config.steps):
            evaluation = self.evaluate(step)
            self.epochs.append(evaluation)
        ending = signals.asked() if step < self.config.steps else None
        if ending or (time.monotonic() - self.saved > CHECKPOINT_SECONDS and step < self.config.steps):
            extra = {
                "epochs": self.epochs,
                "seconds": self.seconds,
                "wall_seconds": self.wall_seconds,
                "resumed": self.resumed,
                "machines": [*self.earlier_machines, self.machine],
                "initial_weights": self.initial_weights,
                "repeated": bool(self.repeated),
                "probe_seconds": {probe.config.name: probe.seconds for probe in self.probes},
            }
            save_checkpoint(self.checkpoint, step, self.model, self.optimizer, self.recorder, extra, self.probes)
            self.saved = time.monotonic()
        if ending:
            print(f"  train {self.config.describe()} · {ending.name}: a checkpoint holds {step} steps", flush=True)
            raise signals.Stopped
        self.progress.update(step, evaluation)
        self.clock = time.monotonic()
        return False

    def save(self) -> RunRecord:
        """Keep the run's record; where it was repeated, only its probes, beside the record that is there."""
        made = {
            "machine": self.machine,
            "earlier_machines": self.earlier_machines,
            "resumed": self.resumed,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "finished_unix": time.time(),
            "wall_seconds": self.wall_seconds,
        }
        if self.repeated:
            apart = probes.difference(self.recorder.steps, self.repeated.steps)
            if apart["largest_loss_difference"] or not apart["same_length"]:
                said = f"repeated, but not bit for bit ({apart}); its probes say so."
                print(f"  {self.config.describe()}: {said}", flush=True)
            self.attach(made | {"repeated": apart}, self.repeated.folder)
            self.store.drop_checkpoint(self.config, self.data.fingerprint)
            return self.repeated
        provenance = made | {
            "data_label": self.data.label,
            "diverged_at": self.diverged_at,
            "initial_weights": self.initial_weights,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "precision": self.machine["precision"],
            "train_seconds": self.seconds,
        }
        weights = host_state(self.model) if self.config.keep_weights else None
        attach = functools.partial(self.attach, made | {"repeated": None})
        recorded = self.recorder.steps, self.epochs, provenance, weights, attach
        return self.store.save(self.config, self.data.fingerprint, *recorded)

    def attach(self, made: dict, folder: Path) -> None:
        """Write the probes into the record's folder."""
        for probe in self.probes:
            about = {"run": self.config.key(self.data.fingerprint), "seconds": probe.seconds} | made
            probes.write(folder, probe.config, probe.values, about)

    def keep_snapshot(self, step: int) -> None:
        """Keep the weights where the config asks for them."""
        if step in self.config.snapshots and not self.repeated:
            path = self.store.snapshot_path(self.config, self.data.fingerprint, step)
            write_tensors(path, host_state(self.model))

    def evaluate(self, step: int) -> dict:
        """Loss and accuracy in eval mode: training subset, validation, and on the last step the test split."""
        result = {"step": step, "epoch": step / self.batches.steps_per_epoch, "seconds": round(self.seconds, 3)}
        wanted = {
            "train": self.data.split(self.config.split, min(EVALUATION_ITEMS, len(self.batches.labels))),
            "validation": self.data.split("validation"),
        }
        if self.config.split == "all":
            del wanted["validation"]  # trained on
        elif self.config.eval_items and self.config.eval_items < len(wanted["validation"][1]):
            wanted["validation"] = self.data.split("validation", self.config.eval_items)
        if self.config.test and step == self.config.steps:
            wanted["test"] = self.data.split("test")
        for name, (images, labels) in wanted.items():
            ready = evaluation_batches(images, labels, self.device, self.batches.normalisation)
            result[f"{name}_loss"], result[f"{name}_accuracy"] = evaluate(
                self.model, ready, self.autocast, self.config.test_flips
            )
        return result


@command_line("Stopped. The same command goes on from here.")
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of a batch worker: train the runs of a JSON file (one config or a list) where not yet recorded."""
    parser = argparse.ArgumentParser(prog="python -m cifar_helpers.training.run", description=main.__doc__)
    parser.add_argument("config", type=Path, help="JSON file with one RunConfig, or a list of them")
    parser.add_argument("--data", default="auto", help="auto, cifar10, synthetic, or a path (default: auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    options = parser.parse_args(arguments)
    configs = _read_configs(options.config)
    for config in configs:  # a mistake in the last one is said before the first is trained
        build_model(config)
        build_criterion(config)
    data = load_cifar10(options.data)
    with signals.listening():
        for config in configs:
            if signals.asked():
                raise signals.Stopped
            print(get_run(config, data, options.device).folder)
    return 0


def _read_configs(path: Path) -> list[RunConfig]:
    try:
        wanted = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CourseError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise CourseError(f"{path} is not JSON: {error}.") from error
    return [RunConfig.from_json(json.dumps(each)) for each in (wanted if isinstance(wanted, list) else [wanted])]


if __name__ == "__main__":
    sys.exit(main())
