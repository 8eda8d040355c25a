"""How far reduced precision is from single precision, at identical weights and batches."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .. import models
from ..data.images import ImageData
from ..env import choose_device, true_fp32, usual_torch
from ..training.build import build_model, build_optimizer, forward_context, move, training_batches
from ..training.config import RunConfig
from ..training.loop import Recorder, train
from ..training.store import Store


def precision_gap(model, first, second, lr: float, contexts: dict) -> dict:
    """How far bf16 recordings are from fp32 ones at identical weights and batches.

    From the model's weights, one signed step of size ``lr`` (what Adam's first step does) leads to a second point. At
    both points the gradient is taken in each precision. The model's weights are put back.

    Args:
        model: in training mode; its weights are the first point.
        first, second: the two points' batches, (images, labels).
        lr: size of the step.
        contexts: ``{"fp32": make_context, "bf16": make_context}`` of the forward pass.

    Returns:
        Relative gaps |bf16 / fp32 − 1| of ``loss``, ``grad_norm`` and ``grad_dist_1`` (β has the same gap, as both
        precisions move equally far), and ``gradient``: ‖g_bf16 − g_fp32‖₂ / ‖g_fp32‖₂.
    """
    parameters = list(model.parameters())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def gradient(batch, context):
        with context():
            loss = F.cross_entropy(model(batch[0]).float(), batch[1])
        return loss.item(), [g.detach() for g in torch.autograd.grad(loss, parameters)]

    def norm(tensors) -> float:
        return torch.nn.utils.get_total_norm(tensors).item()

    here = {name: gradient(first, context) for name, context in contexts.items()}
    with torch.no_grad():
        for parameter, g in zip(parameters, here["fp32"][1], strict=True):
            parameter.sub_(lr * g.sign())
    there = {name: gradient(second, context) for name, context in contexts.items()}
    model.load_state_dict(state)
    values = {
        name: (here[name][0], norm(here[name][1]), norm(torch._foreach_sub(there[name][1], here[name][1])))
        for name in contexts
    }
    gaps = [abs(low / full - 1) for low, full in zip(values["bf16"], values["fp32"], strict=True)]
    apart = norm(torch._foreach_sub(here["bf16"][1], here["fp32"][1])) / norm(here["fp32"][1])
    return dict(zip(("loss", "grad_norm", "grad_dist_1"), gaps, strict=True)) | {"gradient": apart}


@usual_torch()
def precision_gaps(config: RunConfig, data: ImageData, at: Sequence[int], device, store: Store) -> list[dict]:
    """``precision_gap`` along a run in fp32, stored and read again: a dict per step ``at``, ``step`` and the gaps."""
    device = choose_device(device)

    def compute() -> dict:
        model = move(build_model(config), device).train()
        optimizer, batches = build_optimizer(config, model), training_batches(config, data, device)
        contexts = {name: forward_context(name, device) for name in ("fp32", "bf16")}
        recorder = Recorder(model, models.output_layer(model), gradients=False)
        rows, done = [], 0
        with true_fp32(device):
            for step in sorted(at):
                train(model, batches, optimizer, step, recorder, done)
                gaps = precision_gap(model, batches[step], batches[step + 1], config.lr, contexts)
                rows, done = [*rows, {"step": step} | gaps], step
        return {"rows": rows}

    inputs = {"run": config.key(data.fingerprint), "data": data.fingerprint, "at": list(at), "device": device.type}
    return store.measurement("precision_gap", inputs, compute)["rows"]


def precision_table(configs: Sequence[RunConfig], data: ImageData, at: Sequence[int], device, store: Store):
    """``precision_gaps`` of several runs as the rows of a table, and the largest error of a gradient vector."""
    rows, worst = [], 0.0
    for config in configs:
        for gap in precision_gaps(config, data, at, device, store):
            row = {"network": config.model, "step": gap["step"], "loss": f"{gap['loss']:.2%}"}
            row |= {"‖g‖": f"{gap['grad_norm']:.2%}", "gradient distance, β": f"{gap['grad_dist_1']:.2%}"}
            rows.append(row | {"gradient vector": f"{gap['gradient']:.1%}"})
            worst = max(worst, gap["gradient"])
    return rows, worst
