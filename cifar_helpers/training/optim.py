"""The course's own optimizers, written to be read: each is a ``torch.optim.Optimizer`` with torch's argument names.

They follow the formulas of the papers one parameter at a time. ``torch.optim`` does the same in fewer, larger steps;
the tests hold both together.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn


class SGD(torch.optim.Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964), Nesterov's look-ahead and weight decay in the gradient.

    v ← μ v + g + λ w;  w ← w − lr · v, or with Nesterov  w ← w − lr · (g + λ w + μ v).

    Args:
        params, lr, momentum, weight_decay, nesterov: as for ``torch.optim.SGD``.

    Raises:
        ValueError: a rate ≤ 0, or Nesterov without momentum.
    """

    def __init__(self, params, lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0, nesterov=False):
        _check(lr=lr)
        if nesterov and not momentum:
            raise ValueError("Nesterov's look-ahead needs a momentum above 0.")
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            for w in _with_gradient(group):
                g = w.grad + group["weight_decay"] * w
                if group["momentum"]:
                    state = self.state[w]
                    v = state.setdefault("momentum_buffer", torch.zeros_like(w))
                    v.mul_(group["momentum"]).add_(g)
                    g = g + group["momentum"] * v if group["nesterov"] else v
                w.sub_(group["lr"] * g)
        return loss


class Adam(torch.optim.Optimizer):
    """Adam (Kingma & Ba 2015, Algorithm 1): running means of the gradient and of its square, freed of their start at 0.

    Args:
        params, lr, betas, eps, weight_decay: as for ``torch.optim.Adam``; the decay is added to the gradient.

    Raises:
        ValueError: a rate ≤ 0.
    """

    decoupled = False

    def __init__(self, params, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0):
        _check(lr=lr)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            (beta1, beta2), decay = group["betas"], group["weight_decay"]
            for w in _with_gradient(group):
                state, g = self.state[w], w.grad
                if not state:
                    state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(w)}
                    state["exp_avg_sq"] = torch.zeros_like(w)
                if self.decoupled:
                    w.mul_(1 - group["lr"] * decay)
                elif decay:
                    g = g + decay * w
                state["step"] += 1
                t, m, v = state["step"].item(), state["exp_avg"], state["exp_avg_sq"]
                m.mul_(beta1).add_((1 - beta1) * g)
                v.mul_(beta2).add_((1 - beta2) * g * g)
                m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
                w.sub_(group["lr"] * m_hat / (v_hat.sqrt() + group["eps"]))
        return loss


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights directly (Loshchilov & Hutter 2019) instead of joining the gradient.

    The arguments are those of ``torch.optim.AdamW``.
    """

    decoupled = True

    def __init__(self, params, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)


if hasattr(torch.optim, "Muon"):

    class MuonAndAdamW(torch.optim.Optimizer):
        """``torch.optim.Muon`` for the matrices of hidden layers, ``torch.optim.AdamW`` for everything else.

        PyTorch's Muon takes two-dimensional parameters only; output layer, filters, biases and scales go to AdamW.

        Args:
            params: two groups, as ``hidden_matrices_apart`` makes them.
            lr, momentum, weight_decay: of Muon.
            adamw_lr: of AdamW.

        Raises:
            ValueError: a rate ≤ 0, or a network without a hidden matrix.
        """

        def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.0, adamw_lr: float = 1e-3):
            _check(lr=lr, adamw_lr=adamw_lr)
            matrices, rest = params
            if not matrices["params"]:
                raise ValueError("Muon needs a hidden layer that is a matrix; this network has none.")
            super().__init__([matrices | {"lr": lr}, rest | {"lr": adamw_lr}], {"weight_decay": weight_decay})
            muon = torch.optim.Muon(matrices["params"], lr=lr, momentum=momentum, weight_decay=weight_decay)
            self.parts = (muon, torch.optim.AdamW(rest["params"], lr=adamw_lr, weight_decay=weight_decay))

        @torch.no_grad()
        def step(self, closure=None):
            """Update every parameter that has a gradient."""
            loss = _evaluate(closure)
            for part, group in zip(self.parts, self.param_groups, strict=True):
                part.param_groups[0]["lr"] = group["lr"]
                part.state.update({w: self.state[w] for w in group["params"] if w in self.state})
                part.step()
                self.state.update(part.state)
            return loss


def hidden_matrices_apart(model: nn.Module, output: nn.Module) -> list[dict]:
    """Parameter groups: the two-dimensional weights but the output layer's, and all the rest."""
    last = {id(p) for p in output.parameters()}
    matrices = [p for p in model.parameters() if p.dim() == 2 and id(p) not in last]
    chosen = {id(p) for p in matrices}
    return [{"params": matrices}, {"params": [p for p in model.parameters() if id(p) not in chosen]}]


def orthogonalised(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """A matrix (rows, columns) with the same singular vectors, all singular values near one, by Newton–Schulz.

    Five steps bring them to 0.7 … 1.2 with the coefficients of Jordan et al. 2024.
    """
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class FilterMuon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for convolution filters, Nesterov SGD for the rest, as airbench trains its network.

    A filter bank is a matrix with one row per filter. Its momentum is orthogonalised before the step, and the bank is
    kept at a norm of √filters, so that the rate alone says how far it turns.

    Args:
        params: parameters; those with four dimensions are filter banks.
        lr, momentum: of the filters.
        sgd_lr, head_lr, sgd_momentum, weight_decay: of vectors, of matrices (the output layer), and of both.

    Raises:
        ValueError: a rate ≤ 0.
    """

    def __init__(
        self, params, lr=0.24, momentum=0.6, sgd_lr=100.0, head_lr=1000.0, sgd_momentum=0.85, weight_decay=2e-6
    ):
        _check(lr=lr, sgd_lr=sgd_lr, head_lr=head_lr)
        params = [p for p in params if p.requires_grad]
        rates = {1: (sgd_lr, sgd_momentum), 2: (head_lr, sgd_momentum), 4: (lr, momentum)}
        groups = [
            # Divided by the full rate, so that the pull on the weights falls with the rate.
            {"params": [p for p in params if p.dim() == d], "lr": rate, "momentum": mu, "decay": weight_decay / rate}
            for d, (rate, mu) in rates.items()
        ]
        super().__init__([g for g in groups if g["params"]], {})

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient."""
        loss = _evaluate(closure)
        for group in self.param_groups:
            for w in _with_gradient(group):
                g = w.grad
                if w.dim() < 4:
                    g = g + group["decay"] * w
                v = self.state[w].setdefault("momentum_buffer", torch.zeros_like(w))
                v.mul_(group["momentum"]).add_(g)
                g = g + group["momentum"] * v
                if w.dim() == 4:
                    g = orthogonalised(g.flatten(1)).view(w.shape)
                    w.mul_(len(w) ** 0.5 / w.norm())
                w.sub_(group["lr"] * g)
        return loss


def constant(steps: int) -> Callable[[int], float]:
    """The rate as it is."""
    return lambda step: 1.0


def one_cycle(steps: int, warmup: float = 0.23, start: float = 0.2, end: float = 0.0) -> Callable[[int], float]:
    """Up to the full rate and down again, both linear (Smith & Topin 2019, without the momentum's counter-movement).

    Args:
        warmup: share of the steps on the way up, in [0, 1).
        start, end: first and last factor; the last is reached one step after the end.

    Raises:
        ValueError: a warm-up that leaves no steps.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup must be a share of the steps in [0, 1), not {warmup!r}.")
    peak = warmup * steps

    def factor(step: int) -> float:
        if step < peak:
            return start + (1 - start) * step / peak
        return end + (1 - end) * (steps - step) / (steps - peak)

    return factor


def step_down(steps: int, every: float = 0.5, by: float = 0.1, drops: int | None = None) -> Callable[[int], float]:
    """The rate times ``by`` after every ``every``-th share of the run (He et al. 2016), at most ``drops`` times.

    Raises:
        ValueError: a share that is not in (0, 1].
    """
    if not 0 < every <= 1:
        raise ValueError(f"every must be a share of the steps in (0, 1], not {every!r}.")
    most = steps if drops is None else drops
    return lambda step: by ** min(most, int(step / (every * steps) + 1e-9))


# Name → a function of the number of steps and its arguments that gives: step → factor of the rate.
SCHEDULES = {"constant": constant, "one_cycle": one_cycle, "step_down": step_down}


def _check(**rates: float) -> None:
    for name, rate in rates.items():
        if not rate > 0:
            raise ValueError(f"{name} must be a positive number, not {rate!r}.")


def _evaluate(closure):
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def _with_gradient(group: dict) -> Sequence[nn.Parameter]:
    return [w for w in group["params"] if w.grad is not None]
