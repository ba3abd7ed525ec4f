"""thinc's bridge to the decoder.

It replaces thinc's PyTorchShim, which is wrong for a quantized, shared module that saves its
adapter: that one switches the module between evaluation and training at each call (another thread
may see dropout), moves it with .to(device), clones all weights in use_params, never finds averaged
weights (it looks for string keys, but the optimizer writes tuples) and pickles the module.
"""

import contextlib
import copy
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy
import srsly
import torch
from thinc.api import Optimizer, get_torch_default_device, torch2xp, xp2torch
from thinc.backends import get_array_ops
from thinc.shims import Shim
from thinc.types import FloatsXd
from transformers import PretrainedConfig

from ..decoder.building import BuiltDecoder, CheckedDecoder, build_decoder, check_settings
from ..decoder.pack_size import AUTO, check_items, find_items
from ..decoder.restoring import decoder_from_files
from ..decoder.settings import DecoderSettings
from ..decoder.stepping import DecoderAdamW, check_device, check_dtype
from ..decoder.storage import check_base_weights, decoder_to_files
from .training_pass import begin_pass, halve_updates
from .windows import Windows, window_capacity

_NO_GPU_IN_PROCESSES = (
    "The decoder is on a GPU, which n_process > 1 cannot use: CUDA does not survive a fork, and a "
    "new process works on the CPU. Use n_process=1; one GPU gains nothing from several processes."
)
_ARGUMENTS = ("settings", "tokenizer_config", "windows", "max_batch_items", "base_weights")
HiddenBackpropT = Callable[[torch.Tensor], None]
NamedParametersT = list[tuple[str, torch.nn.Parameter]]


class DecoderShim(Shim):
    """Holds a decoder, runs it and steps its trainable weights.

    settings (DecoderSettings): What to load at initialize.
    tokenizer_config (dict): Passed to AutoTokenizer.
    windows (Windows): How longer spans are cut. Not among the layer's attrs, which thinc saves:
        those would override a config given at load.
    max_batch_items, base_weights: As in set_options.
    """

    def __init__(
        self,
        settings: DecoderSettings,
        tokenizer_config: dict[str, Any],
        *,
        windows: Windows,
        max_batch_items: int | str = AUTO,
        base_weights: str = "auto",
    ) -> None:
        super().__init__(None)
        self.settings = settings
        self.tokenizer_config = tokenizer_config
        self.windows = windows
        self.set_options(max_batch_items=max_batch_items, base_weights=base_weights)
        self.built: BuiltDecoder | None = None
        self.is_trained = False  # since it was built
        self._adamw: DecoderAdamW | None = None
        self._found_items: int | None = None
        self._halving = halve_updates()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def set_options(self, *, max_batch_items: int | str, base_weights: str) -> None:
        """Options of the component that the decoder serves.

        max_batch_items (int | str): Real subtokens per forward pass at inference, each copy of
            those that are repeated, at least 1; "auto": as many as suit the device.
        base_weights (str): What a save holds of the frozen base.
        """
        check_items(max_batch_items)
        check_base_weights(base_weights)
        self.max_batch_items = max_batch_items
        self.base_weights = base_weights

    def find_window(self, config: PretrainedConfig) -> int:
        """RETURNS (int): Most subtokens per sequence, for a decoder's config; see find_limit."""
        return self.windows.find_limit(
            context=config.max_position_embeddings,
            max_batch_items=self.max_batch_items,
            # A search lets a decoder that is loaded repeat less than its settings say.
            repeat=(self.built.decoder if self.built else self.settings).repeat,
        )

    def find_items(self) -> int:
        """RETURNS (int): Most subtokens per forward pass at inference. What "auto" stands for is
        decided at the first call: when a decoder is loaded, others may still have to be."""
        if isinstance(self.max_batch_items, int):
            return self.max_batch_items
        self._found_items = self._found_items or find_items(self.ready.decoder)
        return self._found_items

    @property
    def ready(self) -> BuiltDecoder:
        if self.built is None:
            raise ValueError(
                "The decoder has no weights yet: initialize the pipeline (nlp.initialize) or load "
                "it (spacy.load) first."
            )
        return self.built

    def check(self) -> CheckedDecoder:
        """RETURNS (CheckedDecoder): What is known of the decoder without reading a weight. Raises
        ValueError or OSError as check_settings does, and for windows that hold no text."""
        checked = check_settings(self.settings, self.tokenizer_config)
        n_special = checked.tokenizer.num_special_tokens_to_add()
        window_capacity(self.find_window(checked.config), self.windows.stride, n_special=n_special)
        return checked

    def initialize(self) -> BuiltDecoder:
        """RETURNS (BuiltDecoder): The base decoder, loaded. Raises ValueError or OSError as check
        does, before any weight is read."""
        device = get_torch_default_device()
        if self.settings.tuning != "frozen":
            check_device(self.settings.optimizer, device)
        built = build_decoder(self.check(), device=device)
        self.set_built(built)
        return built

    def set_built(self, built: BuiltDecoder) -> None:
        self.built = built
        self._model = built.decoder
        self._adamw = self._found_items = None  # of the previous decoder
        self.is_trained = False
        self._process = os.getpid()

    def __call__(
        self, inputs: tuple[numpy.ndarray, numpy.ndarray], is_train: bool
    ) -> tuple[torch.Tensor, HiddenBackpropT]:
        if is_train:
            return self.begin_update(inputs)
        return self.predict(inputs), _no_backprop

    def predict(self, inputs: tuple[numpy.ndarray, numpy.ndarray]) -> torch.Tensor:
        """Hidden states for (ids, lengths). Shape: (rows, width), float32. Thread-safe."""
        decoder = self.ready.decoder
        if os.getpid() != self._process:
            self._enter_child_process()
        # Inside the lock: eval() switches the root first and then layer by layer, so that another
        # thread could find a decoder that claims evaluation mode with dropout still on.
        with self._lock:
            if decoder.training:
                decoder.eval()
        ids, lengths = inputs
        return decoder.predict(ids, lengths, self.find_items())

    def begin_update(
        self, inputs: tuple[numpy.ndarray, numpy.ndarray]
    ) -> tuple[torch.Tensor, HiddenBackpropT]:
        """Hidden states for (ids, lengths), and the callback for their gradient."""
        decoder = self.ready.decoder
        ids, lengths = inputs
        if self.settings.tuning == "frozen":
            return self.predict(inputs), _no_backprop
        check_device(self.settings.optimizer, decoder.device)
        check_dtype(decoder.dtype)
        decoder.train()
        return begin_pass(decoder, ids, lengths, self._halving)

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step the weights that have a gradient.

        optimizer (Optimizer): thinc's. It steps them array by array, unless the decoder has an
            optimizer of its own, which then takes nothing but the learning rate from it.
        """
        trainable = self.ready.decoder.trainable()
        pending = [(name, p) for name, p in trainable if p.grad is not None]
        if not pending:
            return
        self.is_trained = True
        if self.settings.optimizer is None:
            self._step_each(pending, optimizer)
            return
        if self._adamw is None:
            self._adamw = DecoderAdamW(self.settings.optimizer, trainable)
        self._adamw.step(optimizer.learn_rate)
        if optimizer.averages is not None:
            self._update_averages(pending, optimizer)

    def _step_each(self, pending: NamedParametersT, optimizer: Optimizer) -> None:
        for name, parameter in pending:
            weights, _ = optimizer(
                (self.id, name),
                cast(FloatsXd, torch2xp(parameter.data)),
                cast(FloatsXd, torch2xp(cast(torch.Tensor, parameter.grad))),
            )
            parameter.data = xp2torch(weights, device=parameter.device)
            parameter.grad = None

    def _update_averages(self, stepped: NamedParametersT, optimizer: Optimizer) -> None:
        """What thinc's optimizer does after a step of its own."""
        averages: dict[Any, Any] = cast(dict, optimizer.averages)
        for name, parameter in stepped:
            key = (self.id, name)
            weights: Any = torch2xp(parameter.data)
            ops = get_array_ops(weights)
            if key not in averages:
                averages[key] = ops.alloc(weights.shape, dtype="float32")
            optimizer.nr_update[key] += 1
            ops.update_averages(averages[key], weights, optimizer.nr_update[key])

    @contextlib.contextmanager
    def use_params(self, params: dict[Any, Any]) -> Iterator[None]:
        """Use the optimizer's averaged weights within the context.

        params (dict): The averages by the keys of the optimizer.
        """
        if self.built is None:
            yield
            return
        backup = {}
        for name, parameter in self.built.decoder.trainable():
            average = params.get((self.id, name))
            if average is not None:
                backup[name] = parameter.data
                averaged = xp2torch(average, device=parameter.device)
                parameter.data = averaged.reshape(parameter.shape).clone()
        try:
            yield
        finally:
            for name, parameter in self.built.decoder.trainable():
                if name in backup:
                    parameter.data = backup[name]

    def copy(self) -> "DecoderShim":
        """A shim with trainable weights of its own, on the same frozen base."""
        copied = DecoderShim(**self._arguments())
        if self.built is not None:
            built = copy.copy(self.built)
            built.decoder = copy.deepcopy(self.built.decoder)
            copied.set_built(built)
            copied.is_trained = self.is_trained
        return copied

    def _arguments(self) -> dict[str, Any]:
        """The arguments that make another shim like this one."""
        return {name: getattr(self, name) for name in _ARGUMENTS}

    def __deepcopy__(self, memo: dict[int, Any]) -> "DecoderShim":
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickle, by which new processes get the shim: the content of to_bytes."""
        return {
            "arguments": self._arguments(),
            "device": None if self.built is None else self.built.decoder.device.type,
            "bytes": self.to_bytes(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        DecoderShim.__init__(self, **state["arguments"])
        is_child = multiprocessing.parent_process() is not None
        if is_child and state["device"] == "cuda":
            raise RuntimeError(_NO_GPU_IN_PROCESSES)
        self.from_bytes(state["bytes"])
        if is_child:
            torch.set_num_threads(1)  # as after a fork: the processes share the cores

    def to_device(self, device_type: str, device_id: int) -> None:
        wanted = torch.device("cpu") if device_type == "cpu" else torch.device("cuda", device_id)
        if self.built is not None and self.built.decoder.device != wanted:
            raise ValueError(
                f"The decoder is on {self.built.decoder.device} and cannot be moved to {wanted} "
                "once loaded: other pipelines may share its weights. Call spacy.require_gpu() or "
                "spacy.require_cpu() before spacy.load."
            )

    def to_bytes(self) -> bytes:
        files = None
        if self.built is not None:
            files = decoder_to_files(self.built, base_weights=self.base_weights)
        return srsly.msgpack_dumps({"files": files})

    def from_bytes(self, data: bytes) -> "DecoderShim":
        files = srsly.msgpack_loads(data)["files"]
        if files is not None:
            device = get_torch_default_device()
            self.set_built(decoder_from_files(files, self.settings, device=device))
        return self

    def _enter_child_process(self) -> None:
        if self.ready.decoder.device.type == "cuda":
            raise RuntimeError(_NO_GPU_IN_PROCESSES)
        # OpenMP's threads did not survive the fork; waiting for them would hang.
        torch.set_num_threads(1)
        self._process = os.getpid()


def _no_backprop(dY: torch.Tensor) -> None:
    """Nothing below is trained."""
