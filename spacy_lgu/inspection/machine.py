"""What this machine has: processor, GPUs, memory."""

import platform
from dataclasses import dataclass
from pathlib import Path

from ..cores import count_cores, find_memory_limit
from ..decoder.settings import DecoderSettings


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A CUDA GPU.

    name (str): Its name.
    capability (tuple[int, int]): Of CUDA.
    free, total (int): Bytes.
    """

    name: str
    capability: tuple[int, int]
    free: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine.

    processor (str): Name and instruction set.
    n_cores (int): That this process may use.
    features (tuple[str, ...]): Those of avx2, avx512f, avx512_bf16 and amx_tile that it has.
    fast_bfloat16 (bool): Whether the processor computes in bfloat16 without detours.
    free, total (int | None): Bytes of memory; None: not known.
    gpu (Gpu | None): The one that would be used.
    """

    processor: str
    n_cores: int
    features: tuple[str, ...]
    fast_bfloat16: bool
    free: int | None
    total: int | None
    gpu: Gpu | None


def look_at_machine(gpu_id: int) -> Machine:
    """Look at this machine.

    gpu_id (int): Number of the GPU that would be used; -1: the CPU.
    RETURNS (Machine): Raises ValueError for a GPU that is not there.
    """
    import torch

    features = {
        "avx2": torch.cpu._is_avx2_supported(),
        "avx512f": torch.cpu._is_avx512_supported(),
        "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
        "amx_tile": torch.cpu._is_amx_tile_supported(),
    }
    memory = _read_memory()
    return Machine(
        processor=f"{find_processor()} ({platform.machine()})",
        n_cores=count_cores(),
        features=tuple(name for name, has in features.items() if has),
        fast_bfloat16=features["avx512_bf16"] or features["amx_tile"],
        free=memory.get("MemAvailable"),
        total=memory.get("MemTotal"),
        gpu=None if gpu_id < 0 else _look_at_gpu(gpu_id),
    )


def find_processor() -> str:
    """RETURNS (str): The processor's name, as far as the system tells it."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def resolve_dtype(dtype: str, *, gpu: bool) -> str:
    """What "auto" stands for on this machine; see loading.resolve_dtype."""
    import torch

    from ..decoder import loading

    return loading.resolve_dtype(dtype, torch.device("cuda" if gpu else "cpu"))


def resolve_products(settings: DecoderSettings, *, gpu: bool) -> str | None:
    """What products a saved decoder has on this machine; see loading.resolve_products. None: it
    would be refused."""
    import torch

    from ..decoder import loading

    if gpu and settings.products == "int8":
        return None
    return loading.resolve_products(settings, torch.device("cuda" if gpu else "cpu"))


def attention_kind(dtype: str, head_width: int, *, gpu: Gpu | None) -> str:
    """Which way of decoder/attention.py a decoder with plain scores takes at inference.

    dtype (str): "float32", "bfloat16" or "float16".
    head_width (int): Of attention.
    gpu (Gpu | None): None: the CPU.
    RETURNS (str): In words.
    """
    from ..decoder import varlen

    together = "sequences of similar length together"
    if gpu is None:
        return f"scaled_dot_product_attention, {together}"
    if gpu.capability < (8, 0) or dtype == "float32" or head_width > 256 or head_width % 8:
        return f"plain math, {together}"
    if varlen.varlen_parameters():
        return "varlen_attn, nothing padded"
    return f"plain math, {together}; a newer torch has the faster varlen_attn"


def _look_at_gpu(gpu_id: int) -> Gpu:
    import torch

    n_gpus = torch.cuda.device_count()
    if gpu_id >= n_gpus:
        raise ValueError(
            f"There is no GPU {gpu_id}: torch {torch.__version__} sees {n_gpus}. Leave --gpu-id "
            "out for the CPU, or install torch with CUDA."
        )
    free, total = torch.cuda.mem_get_info(gpu_id)
    return Gpu(
        name=torch.cuda.get_device_name(gpu_id),
        capability=torch.cuda.get_device_capability(gpu_id),
        free=free,
        total=total,
    )


def _read_memory() -> dict[str, int]:
    """RETURNS (dict[str, int]): Bytes by name, as Linux gives them, no more than a container may
    use; empty elsewhere."""
    file = Path("/proc/meminfo")
    if not file.is_file():
        return {}
    lines = (line.split() for line in file.read_text().splitlines())
    found = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
    if (limit := find_memory_limit()) is not None:
        for name, bound in zip(("MemTotal", "MemAvailable"), limit, strict=True):
            found[name] = min(found.get(name, bound), bound)
    return found
