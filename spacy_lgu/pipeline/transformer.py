"""The component `lgu_transformer`: a transformer component with a disk format of its own."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import ensure_path, minibatch
from spacy.vocab import Vocab
from thinc.api import get_torch_default_device

from ..decoder.building import BuiltDecoder
from ..decoder.pack_size import AUTO
from ..decoder.restoring import load_decoder_folder
from ..decoder.storage import save_decoder
from ..layers.shim import DecoderShim
from ..layers.transformer import (
    LGUTransformerT,
    Prepared,
    as_output,
    prepare,
    replace_listener_config,
    run,
)
from ..listeners.annotation_setters import null_annotation_setter
from ..listeners.component import Transformer, install_extensions
from ..listeners.stock import PackedTransformerBatch
from ..replacing import finished_folder, read_folder
from .ahead import pipe_ahead
from .isolating import pipe_batches, tell_handler
from .listening import find_obstacle, known_pipeline, listens_to
from .surroundings import HeadsT, Neighbours, check_heads, differing_heads, fingerprint_pipeline


class LGUTransformer(Transformer):
    """A transformer component around a decoder with layer group unmasking.

    Used as spacy-transformers' Transformer is: other pipes listen to it, and the output is in
    doc._.trf_data. It saves what was trained as safetensors, and the base once or not at all.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: LGUTransformerT,
        set_extra_annotations: Callable = null_annotation_setter,
        *,
        name: str = "transformer",
        max_batch_items: int | str = AUTO,
        base_weights: str = "auto",
    ) -> None:
        super().__init__(
            vocab, model, set_extra_annotations, name=name, max_batch_items=max_batch_items
        )
        options: dict[str, Any] = {
            "max_batch_items": max_batch_items,
            "base_weights": base_weights,
        }
        self.shim.set_options(**options)
        model.attrs["replace_listener_cfg"] = partial(replace_listener_config, **options)
        self.neighbours = Neighbours()
        self._linked = self.listener_map
        # What the heads that nlp.from_disk loads next should hold.
        self._awaited: tuple[Path, HeadsT] | None = None

    @property
    def shim(self) -> DecoderShim:
        """RETURNS (DecoderShim): The bridge to the decoder."""
        shim = self.model.shims[0] if self.model.shims else None
        if not isinstance(shim, DecoderShim):
            raise ValueError(
                f"The factory lgu_transformer needs the architecture spacy-lgu.LGUTransformer.v1, "
                f"but its model is {self.model.name!r}."
            )
        return shim

    def initialize(
        self, get_examples: Callable[[], Iterable[Example]], *, nlp: Language | None = None
    ) -> None:
        """Load the decoder, after checking that its vectors can reach all pipes that listen to it.

        get_examples (Callable): Not called.
        nlp (Language | None): The pipeline.
        """
        for _, pipe in [] if nlp is None else nlp.components:
            if obstacle := self._find_obstacle(nlp, pipe):
                raise ValueError(obstacle)
        super().initialize(get_examples, nlp=nlp)

    def find_listeners(self, component: Any) -> None:
        """Note a component after this one and its listeners, and warn of an order in which they
        would read zeros. spaCy calls this whenever the pipeline changes.

        component (Any): The component.
        """
        if self._linked is not self.listener_map:  # spaCy's new one for a pipeline
            self._linked = self.listener_map
            self.neighbours.begin()
            self._check_loaded()
        self.neighbours.add(component)
        super().find_listeners(component)
        if obstacle := self._find_obstacle(known_pipeline(self), component):
            warnings.warn(obstacle, stacklevel=2)

    def _check_loaded(self) -> None:
        """Check that the heads loaded after this component are from the same save: spaCy links the
        components of a pipeline once all are loaded."""
        awaited, self._awaited = self._awaited, None
        nlp = known_pipeline(self)
        if awaited is None or nlp is None or nlp._path != awaited[0]:
            return
        if differing := differing_heads(*awaited):
            raise ValueError(
                f"{', '.join(differing)} in {str(nlp.path)!r} changed while the pipeline was "
                "loaded: another process saves there. Load it again."
            )

    def _find_obstacle(self, nlp: Language | None, pipe: Any) -> str | None:
        if nlp is None or not listens_to(pipe, self.name):
            return None
        return find_obstacle(nlp, pipe)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Apply the component to a stream of Docs. On a GPU, a batch is read and prepared while the
        one before it is computed, unless batches are single Docs. Where a Doc makes a batch fail,
        the error handler gets it alone.

        stream (Iterable[Doc]): The Docs.
        batch_size (int): Docs to buffer; max_batch_items bounds what is computed at once.
        YIELDS (Doc): The Docs in order.
        """
        install_extensions()
        batches, on_error = minibatch(stream, batch_size), tell_handler(self)
        if batch_size < 2 or not self._is_apart:
            yield from pipe_batches(batches, self._annotate, on_error)
            return
        yield from pipe_ahead(batches, prepare=self.prepare, finish=self._finish, on_error=on_error)

    def _annotate(self, docs: list[Doc]) -> None:
        self.set_annotations(docs, self.predict(docs))

    @property
    def _is_apart(self) -> bool:
        """Whether the decoder computes elsewhere, while the CPU has nothing to do."""
        built = self.shim.built
        return built is not None and built.decoder.device.type == "cuda"

    def prepare(self, docs: list[Doc]) -> Prepared | None:
        """All that is done before the decoder runs.

        docs (list[Doc]): A batch.
        RETURNS (Prepared | None): None: it has no tokens.
        """
        return prepare(self.model, docs) if any(len(doc) for doc in docs) else None

    def finish(self, docs: list[Doc], prepared: Prepared | None, hidden: torch.Tensor) -> None:
        """Write vectors that were computed elsewhere.

        docs (list[Doc]): A batch.
        prepared (Prepared | None): From prepare, for these Docs.
        hidden (Tensor): The decoder's vectors of its subtokens. Shape: (rows, width).
        """
        install_extensions()
        if prepared is None or not len(hidden):
            output: Any = PackedTransformerBatch.empty(len(docs))
        else:
            output, _ = as_output(docs, prepared, hidden)
        self.set_annotations(docs, output)

    def _finish(self, docs: list[Doc], prepared: Prepared | None) -> None:
        """Compute and write the vectors of a batch; None: it has no tokens."""
        if prepared is None:
            output = PackedTransformerBatch.empty(len(docs))
        else:
            output, _ = run(self.model, docs, prepared, is_train=False)
        self.set_annotations(docs, output)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save the component. A save that fails leaves an earlier one intact; without the model,
        the vocab is written beside what is there.

        path (str / Path): The component's folder.
        exclude (Iterable[str]): "vocab" or "model".
        """
        excluded = set(exclude)
        folder = ensure_path(path)

        def write_vocab(folder: Path) -> None:
            if "vocab" not in excluded:
                self.vocab.to_disk(folder / "vocab")

        if "model" in excluded:
            folder = finished_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_vocab(folder)  # beside the model that may be there
            return
        self._awaited = None
        pipeline, heads = fingerprint_pipeline(self, folder.absolute().parent)
        save_decoder(
            self.shim.ready,
            folder,
            base_weights=self.shim.base_weights,
            write_more=write_vocab,
            pipeline=pipeline,
            heads=heads,
        )

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "LGUTransformer":
        """Load the component; its options are those of the config, not the saved ones.

        path (str / Path): The component's folder.
        exclude (Iterable[str]): "vocab" or "model".
        RETURNS (LGUTransformer): Itself.
        """
        excluded = set(exclude)
        folder = finished_folder(ensure_path(path))
        if "vocab" not in excluded:
            self.vocab.from_disk(folder / "vocab")
        if "model" not in excluded:
            built, heads = read_folder(ensure_path(path), self._load)
            self._awaited = ensure_path(path).parent, heads
            self.shim.set_built(built)
            self.model.set_dim("nO", built.decoder.width)
        return self

    def _load(self, folder: Path) -> tuple[BuiltDecoder, HeadsT]:
        heads = check_heads(folder)
        device = get_torch_default_device()
        return load_decoder_folder(folder, self.shim.settings, device=device), heads

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "LGUTransformer":
        """Load the component from bytes; its options are those of the config.

        bytes_data (bytes): From to_bytes.
        exclude (Iterable[str]): "vocab" or "model".
        RETURNS (LGUTransformer): Itself.
        """
        super().from_bytes(bytes_data, exclude=[*exclude, "cfg"])
        return self
