"""Wrong answers to the exercises of notebook 02, as students write them: exercise → (variant, part of its message)."""

import torch
import torch.nn.functional as F

from cifar_helpers.training import optim

# --- One training step ---------------------------------------------------------------------------------------------


def no_zero_grad(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def steps_first(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def clears_late(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def never_steps(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def no_backward(model, optimizer, images, labels):
    model.train()
    optimizer.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    optimizer.step()
    return loss.item()


def as_it_was(model, optimizer, images, labels):
    loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def keeps_the_graph(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss


def loss_afterwards(model, optimizer, images, labels):
    model.train()
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()
    return F.cross_entropy(model(images), labels).item()


def softmax_twice(model, optimizer, images, labels):
    model.train()
    probabilities = torch.softmax(model(images), dim=1)
    loss = F.cross_entropy(probabilities, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def no_log_softmax(model, optimizer, images, labels):
    model.train()
    loss = F.nll_loss(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def summed(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels, reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def clipped(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()
    return loss.item()


def steps_twice(model, optimizer, images, labels):
    model.train()
    for _ in range(2):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def returns_nothing(model, optimizer, images, labels):
    model.train()
    loss = F.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# --- Swish ---------------------------------------------------------------------------------------------------------


def only_the_sigmoid(x):
    return torch.sigmoid(x)


def sigmoid_turned(x):
    return x / (1 + torch.exp(x))


def softmax_for_sigmoid(x):
    return x * F.softmax(x, dim=-1)


def tanh_for_sigmoid(x):
    return x * torch.tanh(x)


def sigmoid_of_the_square(x):
    return x * torch.sigmoid(x * x)


def relu_for_swish(x):
    return x.clamp(min=0)


def gelu_for_swish(x):
    return F.gelu(x)


def torchs_own(x):
    return torch.nn.SiLU()(x)


def swish_in_place(x):
    return x.mul_(torch.sigmoid(x))


def through_numpy(x):
    values = x.detach().numpy()
    return torch.from_numpy(values / (1 + 2.718281828459045 ** (-values)))


def sigmoid_detached(x):
    share = torch.sigmoid(x).detach()
    return x * share


def factor_detached(x):
    return x.data * torch.sigmoid(x)


def overflows(x):
    return x * torch.exp(x) / (1 + torch.exp(x))


def gradient_overflows(x):
    return x / (1 + torch.exp(-x))


# --- L1 ------------------------------------------------------------------------------------------------------------


def biases_too(model):
    return sum(p.abs().sum() for p in model.parameters())


def by_name(model):
    return sum(p.abs().sum() for name, p in model.named_parameters() if "weight" in name)


def squares(model):
    return sum((p**2).sum() for p in model.parameters() if p.dim() > 1)


def norms(model):
    return sum(p.norm() for p in model.parameters() if p.dim() > 1)


def no_absolute_values(model):
    return sum(p.sum() for p in model.parameters() if p.dim() > 1)


def absolute_value_of_the_sum(model):
    return sum(p.sum().abs() for p in model.parameters() if p.dim() > 1)


def means(model):
    return sum(p.abs().mean() for p in model.parameters() if p.dim() > 1)


def last_layer_only(model):
    for p in model.parameters():
        if p.dim() > 1:
            penalty = p.abs().sum()
    return penalty


def first_layer_only(model):
    penalty = 0
    for p in model.parameters():
        if p.dim() > 1:
            penalty = penalty + p.abs().sum()
            return penalty


def convolutions_only(model):
    return sum(m.weight.abs().sum() for m in model.modules() if isinstance(m, torch.nn.Conv2d))


def linear_layers_only(model):
    return sum(p.abs().sum() for p in model.parameters() if p.ndim == 2)


def a_number(model):
    return sum(p.abs().sum().item() for p in model.parameters() if p.dim() > 1)


def wrapped_again(model):
    return torch.tensor(sum(p.abs().sum().item() for p in model.parameters() if p.dim() > 1), requires_grad=True)


def changes_the_weights(model):
    return sum(p.data.abs_().sum() for p in model.parameters() if p.dim() > 1)


# --- SGD -----------------------------------------------------------------------------------------------------------


class SGD:
    """What the notebook gives; every variant writes its own ``update`` of one parameter or its own ``step``."""

    def __init__(self, params, lr, momentum=0.0):
        self.params, self.lr, self.momentum = list(params), lr, momentum
        self.velocities = [torch.zeros_like(w) for w in self.params]

    @torch.no_grad()
    def step(self):
        for w, v in zip(self.params, self.velocities, strict=True):
            if w.grad is not None:
                self.update(w, v)


class Dampened(SGD):
    def update(self, w, v):
        v.mul_(self.momentum).add_((1 - self.momentum) * w.grad)
        w -= self.lr * v


class WrongWayRound(SGD):
    def update(self, w, v):
        v.add_(self.momentum * w.grad)
        w -= self.lr * v


class SharesExchanged(SGD):
    def update(self, w, v):
        v.mul_(1 - self.momentum).add_(self.momentum * w.grad)
        w -= self.lr * v


class ForgetsTheVelocity(SGD):
    def update(self, w, v):
        v = self.momentum * v + w.grad
        w -= self.lr * v


class NeverFades(SGD):
    def update(self, w, v):
        v += w.grad
        w -= self.lr * v


class OldVelocity(SGD):
    def update(self, w, v):
        w -= self.lr * v
        v.mul_(self.momentum).add_(w.grad)


class Nesterov(SGD):
    def update(self, w, v):
        v.mul_(self.momentum).add_(w.grad)
        w -= self.lr * (w.grad + self.momentum * v)


class Climbs(SGD):
    def update(self, w, v):
        v.mul_(self.momentum).add_(w.grad)
        w += self.lr * v


class NewTensors(SGD):
    def update(self, w, v):
        v.mul_(self.momentum).add_(w.grad)
        w = w - self.lr * v


class UnderAutograd(SGD):
    def step(self):
        for w, v in zip(self.params, self.velocities, strict=True):
            v.mul_(self.momentum).add_(w.grad)
            w -= self.lr * v


class OneVelocity(SGD):
    def __init__(self, params, lr, momentum=0.0):
        self.params, self.lr, self.momentum, self.v = list(params), lr, momentum, 0

    def update(self, w, v):
        self.v = self.momentum * self.v + w.grad
        w -= self.lr * self.v

    @torch.no_grad()
    def step(self):
        for w in self.params:
            self.update(w, self.v)


class GradientAsVelocity(SGD):
    def __init__(self, params, lr, momentum=0.0):
        self.params, self.lr, self.momentum = list(params), lr, momentum
        self.velocities = {}

    @torch.no_grad()
    def step(self):
        for w in self.params:
            self.velocities[w] = self.momentum * self.velocities[w] + w.grad if w in self.velocities else w.grad
            w -= self.lr * self.velocities[w]


class ChangesTheGradient(SGD):
    def update(self, w, v):
        v.mul_(self.momentum).add_(w.grad)
        w -= w.grad.copy_(self.lr * v)


class FirstOnly(SGD):
    @torch.no_grad()
    def step(self):
        for w, v in zip(self.params, self.velocities, strict=True):
            v.mul_(self.momentum).add_(w.grad)
            w -= self.lr * v
            return


class NeedsEveryGradient(SGD):
    @torch.no_grad()
    def step(self):
        for w, v in zip(self.params, self.velocities, strict=True):
            v.mul_(self.momentum).add_(w.grad)
            w -= self.lr * v


class FixedMomentum(SGD):
    def update(self, w, v):
        v.mul_(0.8).add_(w.grad)
        w -= self.lr * v


class NoStep:
    def __init__(self, params, lr, momentum=0.0):
        self.params = list(params)


# --- Adam ----------------------------------------------------------------------------------------------------------


class Adam:
    """As ``SGD`` above; a variant writes its own ``update``, or changes what the others see."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        self.params, self.lr, self.betas, self.eps = list(params), lr, betas, eps
        self.means = [torch.zeros_like(w) for w in self.params]
        self.squares = [torch.zeros_like(w) for w in self.params]
        self.t = 0

    @torch.no_grad()
    def step(self):
        self.t += 1
        for w, m, v in zip(self.params, self.means, self.squares, strict=True):
            if w.grad is not None:
                self.update(w, m, v, *self.betas)

    def move(self, w, m, v, beta1, beta2):
        m_hat, v_hat = m / (1 - beta1**self.t), v / (1 - beta2**self.t)
        w -= self.lr * m_hat / (v_hat.sqrt() + self.eps)

    def update(self, w, m, v, beta1, beta2):
        m.mul_(beta1).add_((1 - beta1) * w.grad)
        v.mul_(beta2).add_((1 - beta2) * w.grad**2)
        self.move(w, m, v, beta1, beta2)


class NoCorrection(Adam):
    def move(self, w, m, v, beta1, beta2):
        w -= self.lr * m / (v.sqrt() + self.eps)


class CorrectsTheSecondOnly(Adam):
    def move(self, w, m, v, beta1, beta2):
        w -= self.lr * m / ((v / (1 - beta2**self.t)).sqrt() + self.eps)


class CorrectsTheFirstOnly(Adam):
    def move(self, w, m, v, beta1, beta2):
        w -= self.lr * m / (1 - beta1**self.t) / (v.sqrt() + self.eps)


class CountsFromZero(Adam):
    @torch.no_grad()
    def step(self):
        for w, m, v in zip(self.params, self.means, self.squares, strict=True):
            self.update(w, m, v, *self.betas)
        self.t += 1


class NeverCounts(Adam):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, lr, betas, eps)
        self.t = 1

    @torch.no_grad()
    def step(self):
        for w, m, v in zip(self.params, self.means, self.squares, strict=True):
            self.update(w, m, v, *self.betas)


class CountsEveryParameter(Adam):
    @torch.no_grad()
    def step(self):
        for w, m, v in zip(self.params, self.means, self.squares, strict=True):
            self.t += 1
            self.update(w, m, v, *self.betas)


class EpsUnderTheRoot(Adam):
    def move(self, w, m, v, beta1, beta2):
        w -= self.lr * m / (1 - beta1**self.t) / torch.sqrt(v / (1 - beta2**self.t) + self.eps)


class EpsTooEarly(Adam):
    def move(self, w, m, v, beta1, beta2):
        rate = self.lr * (1 - beta2**self.t) ** 0.5 / (1 - beta1**self.t)
        w -= rate * m / (v.sqrt() + self.eps)


class NoEps(Adam):
    def move(self, w, m, v, beta1, beta2):
        w -= self.lr * m / (1 - beta1**self.t) / torch.sqrt(v / (1 - beta2**self.t))


class NoRoot(Adam):
    def move(self, w, m, v, beta1, beta2):
        w -= self.lr * m / (1 - beta1**self.t) / (v / (1 - beta2**self.t) + self.eps)


class BetasSwapped(Adam):
    def update(self, w, m, v, beta1, beta2):
        super().update(w, m, v, beta2, beta1)


class NotSquared(Adam):
    def update(self, w, m, v, beta1, beta2):
        m.mul_(beta1).add_((1 - beta1) * w.grad)
        v.mul_(beta2).add_((1 - beta2) * w.grad)
        self.move(w, m, v, beta1, beta2)


class SquareOfTheMean(Adam):
    def update(self, w, m, v, beta1, beta2):
        m.mul_(beta1).add_((1 - beta1) * w.grad)
        v.mul_(beta2).add_((1 - beta2) * m**2)
        self.move(w, m, v, beta1, beta2)


class SumsForMeans(Adam):
    def update(self, w, m, v, beta1, beta2):
        m.mul_(beta1).add_(w.grad)
        v.mul_(beta2).add_(w.grad**2)
        self.move(w, m, v, beta1, beta2)


class OldAndNewExchanged(Adam):
    def update(self, w, m, v, beta1, beta2):
        m.mul_(1 - beta1).add_(beta1 * w.grad)
        v.mul_(1 - beta2).add_(beta2 * w.grad**2)
        self.move(w, m, v, beta1, beta2)


class NumbersOfThePaper(Adam):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, lr)


class SharedMeans(Adam):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, lr, betas, eps)
        self.m = self.v = 0

    def update(self, w, m, v, beta1, beta2):
        self.m = beta1 * self.m + (1 - beta1) * w.grad
        self.v = beta2 * self.v + (1 - beta2) * w.grad**2
        self.move(w, self.m, self.v, beta1, beta2)


class LosesTheMeans(Adam):
    def update(self, w, m, v, beta1, beta2):
        m = beta1 * m + (1 - beta1) * w.grad
        v = beta2 * v + (1 - beta2) * w.grad**2
        self.move(w, m, v, beta1, beta2)


class AdamClimbs(Adam):
    def move(self, w, m, v, beta1, beta2):
        m_hat, v_hat = m / (1 - beta1**self.t), v / (1 - beta2**self.t)
        w += self.lr * m_hat / (v_hat.sqrt() + self.eps)


class AdamMakesNewTensors(Adam):
    def move(self, w, m, v, beta1, beta2):
        m_hat, v_hat = m / (1 - beta1**self.t), v / (1 - beta2**self.t)
        w = w - self.lr * m_hat / (v_hat.sqrt() + self.eps)


WRONG = {
    "training_step": [
        (no_zero_grad, "first batch"),
        (steps_first, "before the gradient"),
        (clears_late, "too early"),
        (never_steps, "takes no step"),
        (no_backward, "No gradient is computed"),
        (as_it_was, "as in evaluation"),
        (keeps_the_graph, "whole computation"),
        (loss_afterwards, "after the step"),
        (softmax_twice, "softmax already"),
        (no_log_softmax, "takes log-probabilities"),
        (summed, "sum over the batch"),
        (clipped, "do not go where"),
        (steps_twice, "more than one step"),
        (returns_nothing, "None"),
    ],
    "swish": [
        (only_the_sigmoid, "sigmoid alone"),
        (sigmoid_turned, "Which way"),
        (softmax_for_sigmoid, "neighbours"),
        (tanh_for_sigmoid, "negative"),
        (sigmoid_of_the_square, "never below one half"),
        (relu_for_swish, "ReLU"),
        (gelu_for_swish, "GELU"),
        (torchs_own, "torch's own SiLU"),
        (swish_in_place, "in place"),
        (through_numpy, "history"),
        (sigmoid_detached, "through the sigmoid"),
        (factor_detached, "through the factor"),
        (overflows, "Right near zero"),
        (gradient_overflows, "the gradient is nan"),
    ],
    "l1_penalty": [
        (biases_too, "biases too"),
        (by_name, "also called"),
        (squares, "L2"),
        (norms, "lengths"),
        (no_absolute_values, "rewarded"),
        (absolute_value_of_the_sum, "cancel"),
        (means, "means"),
        (last_layer_only, "last layer"),
        (first_layer_only, "first layer"),
        (convolutions_only, "Only convolutions"),
        (linear_layers_only, "Only linear"),
        (a_number, "lost its history"),
        (wrapped_again, "do not feel it"),
        (changes_the_weights, "others afterwards"),
    ],
    "sgd": [
        (Dampened, "Only a share"),
        (WrongWayRound, "should fade"),
        (SharesExchanged, "larger share"),
        (ForgetsTheVelocity, "velocity of zero"),
        (NeverFades, "Nothing of the old"),
        (OldVelocity, "step before"),
        (Nesterov, "Nesterov"),
        (Climbs, "climbs"),
        (NewTensors, "have not moved"),
        (UnderAutograd, "Should it watch"),
        (OneVelocity, "One velocity"),
        (GradientAsVelocity, "one tensor"),
        (ChangesTheGradient, "gradients themselves"),
        (FirstOnly, "Only the first parameter"),
        (NeedsEveryGradient, "frozen layer"),
        (FixedMomentum, "one setting"),
        (NoStep, "method `step`"),
    ],
    "adam": [
        (NoCorrection, "Both means"),
        (CorrectsTheSecondOnly, "mean of the gradient"),
        (CorrectsTheFirstOnly, "mean of the squares"),
        (CountsFromZero, "divides by zero"),
        (NeverCounts, "every step were the first"),
        (CountsEveryParameter, "counted once for every"),
        (EpsUnderTheRoot, "under the root"),
        (EpsTooEarly, "is divided too"),
        (NoEps, "guards against"),
        (NoRoot, "unit"),
        (BetasSwapped, "betas"),
        (NotSquared, "gradients themselves"),
        (SquareOfTheMean, "squared first mean"),
        (SumsForMeans, "sums that fade"),
        (OldAndNewExchanged, "which of them does β keep"),
        (NumbersOfThePaper, "paper"),
        (SharedMeans, "share their two means"),
        (LosesTheMeans, "starts from nothing"),
        (AdamClimbs, "climbs"),
        (AdamMakesNewTensors, "have not moved"),
    ],
}


# --- Right answers unlike the notebook's ---------------------------------------------------------------------------


def clears_afterwards(model, optimizer, images, labels):
    model.train()
    model.zero_grad()
    loss = torch.nn.CrossEntropyLoss()(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    model.eval()
    return loss.detach()


def by_exp(x):
    return x / (1 + torch.exp(-x.clamp(min=-80)))


def by_tanh(x):
    return x * (1 + torch.tanh(x / 2)) / 2


def by_norm(model):
    return torch.stack([p.norm(1) for p in model.parameters() if p.dim() > 1]).sum()


def by_layer(model):
    penalty = torch.zeros(1)[0]
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            penalty += layer.weight.abs().sum()
    return penalty


class RateInTheVelocity:
    def __init__(self, params, lr, momentum):
        self.params, self.lr, self.momentum, self.v = list(params), lr, momentum, {}

    def step(self):
        for w in self.params:
            if w.grad is not None:
                self.v[w] = self.momentum * self.v.get(w, 0) - self.lr * w.grad
                w.data += self.v[w]


class CorrectedRate(Adam):
    def move(self, w, m, v, beta1, beta2):
        root = (1 - beta2**self.t) ** 0.5
        w.data.addcdiv_(m, v.sqrt() + root * self.eps, value=-self.lr * root / (1 - beta1**self.t))


RIGHT = {
    "training_step": [clears_afterwards],
    "swish": [by_tanh, by_exp],
    "l1_penalty": [by_norm, by_layer],
    "sgd": [RateInTheVelocity, optim.SGD, torch.optim.SGD],
    "adam": [CorrectedRate, optim.Adam, torch.optim.Adam],
}
