"""Cross entropy of logits that members share by columns (Shoeybi et al. 2019, Megatron-LM, section 3).

In three steps, between which members exchange numbers per token instead of logits: the largest logit; the sum of the
exponentials, and the target's logit; the mean loss. Its gradient with respect to one's own columns needs no exchange.
"""

from __future__ import annotations

import torch

from parasim.workload.operators import LogitLoss, LogitMaxima, LogitSums

__all__ = ["LogitStep", "fused_loss"]

LogitStep = LogitMaxima | LogitSums | LogitLoss


def fused_loss(
    step: LogitStep, x: torch.Tensor, aside: torch.Tensor | None, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step: its outputs, and what is aside for the next one (after the last: the gradient of one's columns).

    Parameters
    ----------
    x
        A row per sample: one's columns of the logits of every token; the maxima; sums and targets' logits.
    aside
        Of a row per token: one's columns, less the maxima after the second step.
    targets
        Tokens, a row per sample.
    """
    samples, tokens = targets.shape
    if isinstance(step, LogitMaxima):
        logits = x.reshape(samples * tokens, -1)
        if step.known < logits.shape[1]:
            logits = logits.clone()
            logits[:, step.known :] = -torch.inf
        return logits.amax(1).view(samples, tokens), logits
    assert aside is not None
    columns = targets.flatten() - step.first
    mine = (columns >= 0) & (columns < aside.shape[1])
    column = columns.masked_fill(~mine, 0).unsqueeze(1)
    if isinstance(step, LogitSums):
        shifted = aside - x.reshape(-1, 1)
        chosen = shifted.gather(1, column).squeeze(1).masked_fill(~mine, 0.0)
        return torch.cat([shifted.exp().sum(1).view(samples, tokens), chosen.view(samples, tokens)], 1), shifted
    sums, chosen = (part.reshape(-1) for part in x.view(samples, 2, tokens).unbind(1))
    loss = (sums.log() - chosen).mean()
    residual = aside.exp().div_(sums.unsqueeze(1))
    residual.scatter_add_(1, column, -mine.to(residual.dtype).unsqueeze(1))
    return loss, residual.div_(len(residual)).view(samples, -1)
