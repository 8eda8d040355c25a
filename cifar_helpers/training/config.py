"""What decides the outcome of a training run, and the key that names it. Nothing here imports torch."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..env import CourseError

FORMAT = 1


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the outcome of one training run; two equal configs are one run.

    Attributes:
        model, model_args: class name in ``models`` and its arguments.
        optimizer, optimizer_args: class name in ``torch.optim``, or with ``course.`` before it in ``optim``, and its
            arguments without the rate.
        lr: learning rate.
        loss, label_smoothing: name in ``losses``, and the share of each target spread over all classes.
        l1: strength of the sum of absolute weights added to the loss.
        schedule, schedule_args: name in ``optim.SCHEDULES`` and its arguments: how the rate changes along the run.
        batch_size, steps: images per step and number of steps.
        seed: sets the initial weights *and* the data order, so runs of one seed differ only in what the config says.
        n_items: size of a stratified subset of the training split; None takes all of it.
        augmentation: any of ``crop`` or ``shift``, ``flip`` or ``alternating_flip``, ``cutout`` (``batches.Batches``).
        sizes: (share, side) pairs: until this share of the run, training images are scaled to this side.
        normalisation: ``half`` (mean and std ½, the handout's) or ``channel`` (the training images' own).
        precision: ``auto``, ``fp32`` or ``bf16`` (autocast).
        gradients: record gradient norm, gradient distance and moved distance at every step.
        gaps: distances ‖g_t − g_{t−gap}‖₂ to record.
        eval_every: steps between two evaluations on the validation split; the last step is always evaluated.
        eval_items: at most so many validation images are used; None takes all of them.
        test: evaluate on the test split, once, at the end.
        test_flips: in evaluations, add the logits of the mirrored image.
        split: ``train``, or ``all`` for the validation images too, once everything is chosen.
        keep_weights: keep the final weights.
        snapshots: numbers of finished steps (0 is the untrained model) after which the weights are kept too.

    Raises:
        CourseError: a value that cannot be trained with (rate ≤ 0, no steps, a gap below 1 …).
    """

    model: str
    model_args: Mapping[str, object] = field(default_factory=dict)
    optimizer: str = "Adam"
    optimizer_args: Mapping[str, object] = field(default_factory=dict)
    lr: float = 1e-3
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    l1: float = 0.0
    schedule: str = "constant"
    schedule_args: Mapping[str, object] = field(default_factory=dict)
    batch_size: int = 128
    steps: int = 100
    seed: int = 0
    n_items: int | None = None
    augmentation: tuple[str, ...] = ()
    sizes: tuple[tuple[float, int], ...] = ()
    normalisation: str = "half"
    precision: str = "auto"
    gradients: bool = False
    gaps: tuple[int, ...] = (1,)
    eval_every: int = 100
    eval_items: int | None = None
    test: bool = True
    test_flips: bool = False
    split: str = "train"
    keep_weights: bool = False
    snapshots: tuple[int, ...] = ()

    def __post_init__(self):
        if not isinstance(self.model, str):
            raise CourseError(f"model must be the name of a network, such as 'LeNet5', not {self.model!r}.")
        self._check_types()
        for name in ("augmentation", "gaps", "snapshots"):  # a set of names or steps: one spelling
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        object.__setattr__(self, "sizes", tuple(sorted((float(share), side) for share, side in self.sizes)))
        for share, side in self.sizes:
            if not 0 < share <= 1 or not 8 <= side <= 32:
                raise CourseError(f"sizes are pairs of a share in (0, 1] and a side of 8 to 32, not {(share, side)}.")
        for name in ("model_args", "optimizer_args", "schedule_args"):
            object.__setattr__(self, name, json.loads(json.dumps(dict(getattr(self, name)))))
        if not math.isfinite(self.lr) or self.lr <= 0:
            raise CourseError(f"The learning rate must be a positive number, not {self.lr!r}.")
        for name in ("l1", "label_smoothing"):
            if not 0 <= getattr(self, name) < math.inf:
                raise CourseError(f"{name} must be a number of at least 0, not {getattr(self, name)!r}.")
        if self.label_smoothing > 1:
            raise CourseError(f"label_smoothing is a share of at most 1, not {self.label_smoothing!r}.")
        if not -(2**63) <= self.seed < 2**63:
            raise CourseError(f"A seed has 64 bits, from -2**63 to 2**63 - 1; {self.seed} is beyond them.")
        for name in ("batch_size", "steps", "eval_every", "eval_items"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise CourseError(f"{name} must be a whole number of at least 1, not {getattr(self, name)!r}.")
        if self.normalisation not in ("half", "channel"):
            raise CourseError(f"Unknown normalisation {self.normalisation!r}; choose 'half' or 'channel'.")
        if self.split not in ("train", "all"):
            raise CourseError(f"Unknown split {self.split!r}; choose 'train' or 'all'.")
        if not self.gaps or min(self.gaps) < 1:
            raise CourseError(f"Every gap must be at least 1 step, not {self.gaps}.")

    def _check_types(self) -> None:
        """Raise ``CourseError`` for a field that is of another type than it must be."""

        def each(value, *kinds) -> bool:
            return isinstance(value, list | tuple) and all(type(item) in kinds for item in value)

        def pairs(value) -> bool:
            return isinstance(value, list | tuple) and all(each(v, int, float) and len(v) == 2 for v in value)

        rules = (
            ("steps batch_size seed eval_every", "a whole number", lambda v: type(v) is int),
            ("n_items eval_items", "a whole number or None", lambda v: v is None or type(v) is int),
            ("lr l1 label_smoothing", "a number", lambda v: type(v) in (int, float)),
            ("optimizer loss schedule normalisation precision split", "a name", lambda v: isinstance(v, str)),
            ("gradients test test_flips keep_weights", "true or false", lambda v: isinstance(v, bool)),
            ("model_args optimizer_args schedule_args", "names with values", lambda v: isinstance(v, Mapping)),
            ("gaps snapshots", "whole numbers", lambda v: each(v, int)),
            ("augmentation", "names", lambda v: each(v, str)),
            ("sizes", "pairs of a share and a side", lambda v: pairs(v) and all(type(side) is int for _, side in v)),
        )
        for names, what, fits in rules:
            for name in names.split():
                if not fits(getattr(self, name)):
                    raise CourseError(f"{name} must be {what}, not {getattr(self, name)!r}.")

    def __hash__(self):
        return hash(self.to_json())

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, one spelling per value."""
        values = dataclasses.asdict(self)
        for name in ("lr", "l1", "label_smoothing"):
            values[name] = float(values[name])
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "RunConfig":
        """Read what ``to_json`` wrote; ``CourseError`` where it is not JSON, or a field is unknown or unusable."""
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError(f"{text[:40]!r} is no object")
            unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
            if not unknown:
                return cls(**values)
        except (TypeError, ValueError) as error:
            raise CourseError(f"Not a run configuration: {error}") from error
        known = ", ".join(field.name for field in dataclasses.fields(cls))
        raise CourseError(f"A run configuration has no {', '.join(unknown)}; it has {known}.")

    def key(self, fingerprint: str) -> str:
        """Name of the run on the data with this fingerprint: 16 hexadecimal digits.

        Settings at their default are left out, so a new field leaves old keys alone; a changed default needs a new
        ``FORMAT``.
        """
        blank = json.loads(RunConfig(self.model).to_json())
        chosen = {n: v for n, v in json.loads(self.to_json()).items() if n == "model" or v != blank[n]}
        text = f"{FORMAT}|{fingerprint}|{json.dumps(chosen, sort_keys=True)}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def folder_name(self, fingerprint: str) -> str:
        """Name of the run's folder."""
        return f"{self.model}-{self.key(fingerprint)}"

    def describe(self) -> str:
        """A short name for progress lines and tables; settings beyond the usual ones where they are not default."""
        arguments = ", ".join(f"{name}={value}" for name, value in self.model_args.items())
        parts = [f"{self.model}({arguments})" if arguments else self.model, f"{self.optimizer} lr {self.lr:g}"]
        for name in ("loss", "l1", "schedule", "batch_size", "augmentation", "split"):
            value = getattr(self, name)
            if value != getattr(type(self), name):
                parts.append(f"{name} {'+'.join(value) if isinstance(value, tuple) else value}")
        parts += [f"{side} pixels until {share:.0%}" for share, side in self.sizes]
        if self.optimizer_args.get("weight_decay"):
            parts[1] += f" decay {self.optimizer_args['weight_decay']:g}"
        return " · ".join([*parts, f"seed {self.seed}"])
