"""Checks of the exercises on training (notebook 02): one step of it, and the L1 penalty."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .engine import Mistake, call, compare, exercise, same

# --- One training step ---------------------------------------------------------------------------------------------

RATE, MOMENTUM = 0.1, 0.9


class _Watched(torch.optim.SGD):
    """SGD that notes, at each step, whether there was a gradient."""

    def __init__(self, params, events: list[str]):
        super().__init__(params, RATE, MOMENTUM)
        self.events = events

    def step(self, closure=None):
        weights = [w for group in self.param_groups for w in group["params"]]
        self.events.append("step" if any(w.grad is not None and w.grad.any() for w in weights) else "empty step")
        return super().step(closure)


class _Reference:
    """A copy of a network and how it is trained, with or without clearing the gradients."""

    def __init__(self, net: nn.Module, clears: bool = True):
        self.net, self.clears = copy.deepcopy(net).train(), clears
        self.optimizer = torch.optim.SGD(self.net.parameters(), RATE, MOMENTUM)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        if self.clears:
            self.optimizer.zero_grad()
        F.cross_entropy(self.net(images), labels).backward()
        self.optimizer.step()

    def weights(self) -> list[torch.Tensor]:
        return [w.detach() for w in self.net.parameters()]


@exercise("02", "my_training_step")
def training_step(student) -> None:
    """Three steps of SGD with momentum on three batches (oracle: the same steps, taken here)."""
    net, events = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)), []
    right, forgetful = _Reference(net), _Reference(net, clears=False)
    net.register_forward_hook(lambda module, *_: events.append("training" if module.training else "evaluation"))
    net[-1].bias.register_post_accumulate_grad_hook(lambda _: events.append("backward"))
    optimizer = _Watched(net.parameters(), events)
    net.eval()  # as after an evaluation
    for _ in range(3):
        images, labels = torch.randn(8, 6), torch.randint(0, 3, (8,))
        events.clear()
        loss = call(student, net, optimizer, images, labels)
        _compare_order(events)
        _compare_loss(loss, right, images, labels)
        right.step(images, labels)
        forgetful.step(images, labels)
        compare([w.detach() for w in net.parameters()], right.weights(), {"accumulated": forgetful.weights()})


def _compare_order(events: Sequence[str]) -> None:
    steps = [i for i, event in enumerate(events) if "step" in event]
    if not {"training", "evaluation"} & set(events):
        raise Mistake("The network does not see the images.")
    if "evaluation" in events:
        raise Mistake("Batch norm and dropout still work as in evaluation: nobody told the network that it trains now.")
    if "backward" not in events:
        raise Mistake("No gradient is computed. What sends the loss back through the network?")
    if not steps:
        raise Mistake("The optimizer that was handed in takes no step, so no weight moves.")
    if len(steps) > 1:
        raise Mistake("The optimizer takes more than one step on this batch.")
    if steps[0] < events.index("backward"):
        raise Mistake("The weights move before the gradient of this batch is known.")
    if events[steps[0]] == "empty step":
        raise Mistake("When the optimizer takes its step the gradient is gone: it was put away too early.")


def _compare_loss(loss, right: _Reference, images: torch.Tensor, labels: torch.Tensor) -> None:
    if isinstance(loss, torch.Tensor) and loss.requires_grad:
        raise Mistake("The loss still holds on to the whole computation; a list of such losses fills the memory.")
    later = copy.deepcopy(right)
    later.step(images, labels)
    with torch.no_grad():
        logits, after = right.net(images), F.cross_entropy(later.net(images), labels)
        mean = F.cross_entropy(logits, labels)
        mistakes = {
            "after": after,
            "softmax": F.cross_entropy(logits.softmax(1), labels),
            "log-probabilities": F.nll_loss(logits, labels),
            "summed": mean * len(labels),
            "twice-divided": mean / len(labels),
        }
        compare(loss, mean, mistakes, "loss-off")


# --- L1 ------------------------------------------------------------------------------------------------------------


@exercise("02", "my_l1_penalty")
def l1_penalty(student) -> None:
    """The L1 penalty of two small networks, and its gradient (oracle: the sum and the signs, written out)."""
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), nn.Linear(2, 4), nn.Linear(4, 3)
    for net in (
        nn.Sequential(*layers),
        nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2))),
    ):
        for parameter in net.parameters():
            nn.init.normal_(parameter)
        _compare_penalty(student, net)


def _compare_penalty(student, net: nn.Module) -> None:
    before = [w.detach().clone() for w in net.parameters()]
    got = call(student, net)
    if not same([w.detach() for w in net.parameters()], before):
        raise Mistake("The network's weights are others afterwards. A penalty looks at them and leaves them alone.")
    weights = [w for w in before if w.dim() > 1]
    named = [w.detach() for name, w in net.named_parameters() if "weight" in name]
    mistakes = {
        "biases": sum(w.abs().sum() for w in before),
        "scales": sum(w.abs().sum() for w in named),
        "squares": sum((w**2).sum() for w in weights),
        "half-squares": sum((w**2).sum() for w in weights) / 2,
        "lengths": sum(w.norm() for w in weights),
        "signed": sum(w.sum() for w in weights),
        "signed-layers": sum(w.sum().abs() for w in weights),
        "averaged": sum(w.abs().mean() for w in weights),
        "last": weights[-1].abs().sum(),
        "first": weights[0].abs().sum(),
        "convolutions": sum(w.abs().sum() for w in weights if w.dim() > 2),
        "linear": sum(w.abs().sum() for w in weights if w.dim() == 2),
    }
    compare(got, sum(w.abs().sum() for w in weights), mistakes)
    if not isinstance(got, torch.Tensor) or not got.requires_grad:
        raise Mistake("The number is right, but it has lost its history: no gradient would ever reach the weights.")
    gradients = torch.autograd.grad(got, list(net.parameters()), materialize_grads=True)
    signs = [w.sign() if w.dim() > 1 else torch.zeros_like(w) for w in before]
    compare(list(gradients), signs, {}, "slope-off")
