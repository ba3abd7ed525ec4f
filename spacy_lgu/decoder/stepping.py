"""AdamW over all trainable weights of a decoder together.

thinc calls its optimizer array by array. What needs to see all of them cannot live there: clipping
by the norm of the whole gradient, decay of matrices only, states in 8 bits.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from .settings import AdamWSettings


def check_device(settings: AdamWSettings | None, device: torch.device) -> None:
    """Refuse an optimizer that the device cannot run, before anything is loaded or computed.

    settings (AdamWSettings | None): The optimizer.
    device (torch.device): Where the decoder is, or will be.
    """
    if settings is not None and settings.paged_8bit and device.type != "cuda":
        raise ValueError(
            f"The optimizer's setting paged_8bit = true needs a CUDA GPU, but the decoder is on "
            f"{device}. Train on one (`spacy train --gpu-id 0`), or set paged_8bit = false."
        )


def check_dtype(dtype: str) -> None:
    """Refuse a dtype in which nothing can be trained, before anything is loaded or computed.

    dtype (str): The computing dtype.
    """
    if dtype == "float16":
        raise ValueError(
            "dtype = 'float16' cannot train: gradients would underflow. Load the pipeline with "
            "'bfloat16', 'float32' or 'auto' to train it; once trained, it may be loaded with "
            "'float16'."
        )


def decay_groups(
    parameters: Iterable[torch.nn.Parameter], weight_decay: float
) -> list[dict[str, Any]]:
    """The groups of an optimizer that decays matrices, but neither biases nor norms.

    parameters (Iterable[Parameter]): The weights.
    weight_decay (float): For weights with more than one dimension.
    RETURNS (list[dict]): "params" and "weight_decay"; no group is empty.
    """
    weights = list(parameters)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def rate_groups(
    named: Sequence[tuple[str, torch.nn.Parameter]], settings: AdamWSettings
) -> list[dict[str, Any]]:
    """The groups of decay_groups, apart for the weights that LoRA+ gives a rate of their own.

    named (Sequence[tuple[str, Parameter]]): The weights by name.
    settings (AdamWSettings): The values.
    RETURNS (list[dict]): "params", "weight_decay" and "factor", that of the rate.
    """
    is_b = [settings.lora_plus_ratio != 1 and ".lora_B." in name for name, _ in named]
    others = [p for (_, p), flag in zip(named, is_b, strict=True) if not flag]
    matrices_b = [p for (_, p), flag in zip(named, is_b, strict=True) if flag]
    return [
        {**group, "factor": factor}
        for weights, factor in ((others, 1.0), (matrices_b, settings.lora_plus_ratio))
        for group in decay_groups(weights, settings.weight_decay)
    ]


class DecoderAdamW:
    """Steps weights by AdamW, clipped by the norm of their whole gradient.

    Weights with one dimension (biases, norms, magnitudes of DoRA) are not decayed. Source of AdamW:
    Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019 (arXiv 1711.05101); of
    the defaults: Dukić & Šnajder, 2024 (arXiv 2401.14556).

    settings (AdamWSettings): The values, for a device that check_device takes.
    named (Sequence[tuple[str, Parameter]]): The weights by name, at least one.
    """

    def __init__(
        self, settings: AdamWSettings, named: Sequence[tuple[str, torch.nn.Parameter]]
    ) -> None:
        self.settings = settings
        self.parameters = [parameter for _, parameter in named]
        groups = rate_groups(named, settings)
        options: dict[str, Any] = {
            "lr": 0.0,  # set at each step
            "betas": (settings.beta1, settings.beta2),
            "eps": settings.eps,
        }
        self.optimizer: torch.optim.Optimizer
        if settings.paged_8bit:
            import bitsandbytes

            self.optimizer = bitsandbytes.optim.PagedAdamW8bit(groups, **options)
        else:
            self.optimizer = torch.optim.AdamW(groups, fused=True, **options)

    def step(self, learn_rate: float) -> None:
        """Change the weights that have a gradient, and drop the gradients.

        learn_rate (float): Multiplied by the settings' learn_rate_factor and, for LoRA's matrices
            B, by lora_plus_ratio. Raises ValueError for gradients that are not finite; these are
            dropped, and the weights stay as they were.
        """
        clip = self.settings.grad_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip)
        if not torch.isfinite(norm):
            self.optimizer.zero_grad(set_to_none=True)
            raise ValueError(
                f"The norm of the decoder's gradient is {norm.item()}: training has diverged. Use "
                "a lower learning rate or a longer warm-up; in half precision, "
                "dtype = 'bfloat16' or 'float32'."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learn_rate * self.settings.learn_rate_factor * group["factor"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
