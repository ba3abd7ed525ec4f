"""A base decoder's weights in memory: their dtype, how they are quantized and who shares them."""

import copy
import logging
import weakref
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import MODEL_MAPPING, AutoModel, BitsAndBytesConfig, PretrainedConfig

from .attention import ATTENTION, register_attention
from .checkpoint import match_weights, read_headers
from .depth import first_layers
from .experts import EXPERTS, are_separate, take_mark
from .int8_products import use_int8_products
from .locking import LOADING
from .products import use_onednn
from .separating import quantizing
from .settings import DecoderSettings
from .source import Source
from .versions import dtype_option, forget_conversions, rename_prefix
from .weights import fetch_weights, stage_weights, weight_shapes

TORCH_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class SharedBase:
    """A loaded, frozen base decoder whose tensors several pipelines may use.

    module (Module): The decoder as loaded; never changed. Use fork() to work with it.
    key (tuple[str, ...]): What it was loaded from and how: identity, dtype, quantization, device,
        and how many layers it has. Empty if load_shared_base did not load it.
    """

    def __init__(self, module: torch.nn.Module, key: tuple[str, ...] = ()) -> None:
        self.module = module.eval().requires_grad_(False)
        self.key = key

    def fork(self) -> torch.nn.Module:
        """A module tree of its own over the same tensors.

        PEFT keeps adapters as state of the modules, so pipelines cannot share those.
        """
        return copy.deepcopy(self.module, memo=shared_tensors(self.module))


_shared_bases: "weakref.WeakValueDictionary[tuple[str, ...], SharedBase]" = (
    weakref.WeakValueDictionary()
)


def resolve_dtype(dtype: str, device: torch.device) -> str:
    """Resolve "auto": bfloat16 where the device computes it fast, else float32.

    dtype (str): As in DecoderSettings.
    device (torch.device): Where the decoder runs.
    RETURNS (str): "float32", "bfloat16" or "float16".
    """
    if dtype != "auto":
        return dtype
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def resolve_products(settings: DecoderSettings, device: torch.device) -> str:
    """Resolve "auto": int8 where the CPU computes it fast and the base allows it, else exact.

    settings (DecoderSettings): With products as the user wants them.
    device (torch.device): Where the decoder runs.
    RETURNS (str): "exact" or "int8". Raises ValueError for int8 on another device than a CPU.
    """
    if settings.products != "auto":
        if settings.products == "int8" and device.type != "cpu":
            raise ValueError(
                f"products = 'int8' runs on CPUs, but the decoder goes to {device}. Use products = "
                "'exact', or 'auto' for both."
            )
        return settings.products
    is_possible = settings.tuning != "full" and settings.quantization != "int8"
    fast = device.type == "cpu" and torch.cpu._is_vnni_supported()
    return "int8" if fast and is_possible else "exact"


def shared_tensors(module: torch.nn.Module) -> dict[int, Any]:
    """A deepcopy memo under which copies of a module keep its frozen tensors.

    module (Module): Any module; bitsandbytes' quantization state counts as frozen.
    RETURNS (dict): id(object) -> object for every object that copies should share.
    """
    shared: list[Any] = list(module.buffers())
    for parameter in module.parameters():
        if not parameter.requires_grad:
            shared += [parameter, *(getattr(parameter, n, None) for n in ("CB", "SCB"))]
            shared.append(getattr(parameter, "quant_state", None))
    for child in module.modules():
        state = getattr(child, "state", None)
        shared += [getattr(child, "quant_state", None)]
        shared += [getattr(state, name, None) for name in ("CB", "SCB")]
    return {id(value): value for value in shared if value is not None}


def load_shared_base(
    source: Source,
    config: PretrainedConfig,
    *,
    identity: str,
    dtype: str,
    quantization: str,
    device: torch.device,
    prefix: str | None = None,
    products: str = "exact",
) -> SharedBase:
    """Load a frozen base decoder, or find it among those this process has in memory.

    source (Source): Where the weights are.
    config (PretrainedConfig): The decoder's config.
    identity (str): The commit or hash that makes two bases the same.
    dtype (str): "float32", "bfloat16" or "float16".
    quantization (str): "none", "nf4" or "int8".
    device (torch.device): Where the tensors go.
    prefix (str | None): From check_weights, as in load_decoder.
    products (str): "exact" or "int8".
    RETURNS (SharedBase): Kept in memory as long as any pipeline uses it.
    """
    kind = quantization if products == "exact" else f"{quantization}, products in {products}"
    key = (identity, dtype, kind, str(device), str(config.num_hidden_layers))
    with LOADING:
        base = _shared_bases.get(key)
        if base is None:
            deeper = _find_deeper(key)
            if deeper is None:
                decoder = load_decoder(
                    source,
                    config,
                    dtype=dtype,
                    quantization=quantization,
                    device=device,
                    prefix=prefix,
                )
                if products == "int8":
                    use_int8_products(decoder)
            else:
                decoder = first_layers(deeper.module, config.num_hidden_layers)
            base = _shared_bases[key] = SharedBase(decoder, key)
        return base


def _find_deeper(key: tuple[str, ...]) -> SharedBase | None:
    """A base in memory with the same layers, and more after them. The first layers hold nothing of
    the others, which are freed with the pipelines that use them."""
    found = (
        base
        for (*same, n_layers), base in list(_shared_bases.items())
        if tuple(same) == key[:-1] and int(n_layers) > int(key[-1])
    )
    return next(found, None)


def load_decoder(
    source: Source,
    config: PretrainedConfig,
    *,
    dtype: str,
    quantization: str,
    device: torch.device,
    prefix: str | None = None,
) -> torch.nn.Module:
    """Load a base decoder without LM head, with packed attention and every weight from the files.

    source (Source): Where the weights are; those on the hub are downloaded.
    config (PretrainedConfig): From place_experts.
    dtype (str): "float32", "bfloat16" or "float16".
    quantization (str): "none", "nf4" (double quantization) or "int8". Weights that were saved
        quantized stay as they are.
    device (torch.device): Where the tensors go.
    prefix (str | None): From check_weights. None: the weights are compared with the config now.
    RETURNS (Module): The decoder, in evaluation mode. Raises ValueError for damaged files and, as
        match_weights, for weights that are not those of the decoder.
    """
    register_attention()
    files = fetch_weights(source)
    with LOADING:
        options: dict[str, Any] = {}
        if quantization != "none":
            # bitsandbytes quantizes while it loads, straight onto the device.
            options["device_map"] = {"": placing_device(device)}
            if getattr(config, "quantization_config", None) is None:
                options["quantization_config"] = quantization_config(quantization, dtype)
        if prefix is None:
            shapes = weight_shapes(source, config)
            prefix = match_weights(read_headers(files), shapes, where=source.name)
        renamed = rename_prefix(prefix, MODEL_MAPPING[type(config)], partial(read_headers, files))
        if renamed:
            options["key_mapping"] = renamed
        try:
            with stage_weights(files) as folder, quantizing(are_separate(config)):
                decoder, info = AutoModel.from_pretrained(
                    folder,
                    config=take_mark(config),
                    use_safetensors=True,
                    trust_remote_code=False,
                    attn_implementation=ATTENTION,
                    **EXPERTS,
                    output_loading_info=True,
                    **dtype_option(TORCH_DTYPES[dtype]),
                    **options,
                )
        except SafetensorError as error:
            raise ValueError(
                f"The weights of {source.name!r} are damaged: {error}. Delete them from the cache "
                "(`hf cache`) and download them again."
            ) from error
        if lost := sorted({*info["missing_keys"], *map(str, info["mismatched_keys"])}):
            raise ValueError(
                f"transformers did not load {len(lost)} weights of {source.name!r}, and would have "
                f"initialized them at random: {', '.join(lost[:3])}. The files do hold them: "
                "please report this decoder and the version of transformers."
            )
        forget_conversions(decoder, renamed)
        decoder.config._name_or_path = source.name  # instead of the staged folder
        if quantization == "none":
            decoder.to(device)
            use_onednn(decoder)
        else:
            prepare_quantized_layers(decoder, TORCH_DTYPES[dtype])
    return decoder.eval()


def placing_device(device: torch.device) -> torch.device:
    """The device as transformers is told where to load weights.

    device (device): Where they go.
    RETURNS (device): The same; without its number if it is the GPU that this thread works on.
    """
    # On an H200, a shard of 5 GB took 4.5 s and more to load where the device was "cuda:0", and
    # 0.8 s where it was "cuda".
    if device.type == "cuda" and device.index == torch.cuda.current_device():
        return torch.device("cuda")
    return device


def quantization_config(quantization: str, dtype: str) -> BitsAndBytesConfig:
    """How transformers quantizes weights while it loads them.

    quantization (str): "nf4", with double quantization, or "int8".
    dtype (str): Name of the dtype to compute in.
    """
    skip = ["lm_head"]  # Absent here; naming it keeps transformers from skipping a last layer.
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=TORCH_DTYPES[dtype],
        llm_int8_skip_modules=skip,
    )


def prepare_quantized_layers(decoder: torch.nn.Module, dtype: torch.dtype) -> None:
    """Do now what bitsandbytes' layers would otherwise change at their first call."""
    import bitsandbytes

    from .int8 import use_int8_linear

    has_int8 = False
    for module in decoder.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            # On AVX512-bf16 CPUs the first evaluation would repack the weights in place, which is
            # not undone for training (no gradient below the layer) and not thread-safe.
            module.support_avx512bf16_for_cpu = False
            module.compute_dtype = dtype
            module.compute_type_is_set = True
        elif isinstance(module, bitsandbytes.nn.Linear8bitLt):
            has_int8 = True
            use_int8_linear(module)
            weight: Any = module.weight
            if weight.CB is not None:
                module.init_8bit_state()
    if has_int8:
        # Each layer warns at each call that it casts its input to float16. That cast is how
        # LLM.int8() is defined, nothing a user can or should change.
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_drop_cast_warning)


def _drop_cast_warning(record: logging.LogRecord) -> bool:
    return "inputs will be cast from" not in record.getMessage()


def _drop_kernel_warning(record: logging.LogRecord) -> bool:
    return "pip install kernels" not in record.getMessage()


# When it is imported, bitsandbytes asks for a kernel that it would download from the hub. The
# compiled one that it ships is used instead.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_drop_kernel_warning)
