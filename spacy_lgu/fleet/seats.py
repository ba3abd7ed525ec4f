"""A pipeline in a fleet: its decoder as a member, and the pipes before and after it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import _pipe  # what nlp.pipe is made of: error handlers, functions as pipes

from ..decoder.mixing import Member
from ..layers.finding import decoder_shims
from ..pipeline.transformer import LGUTransformer

PipesT = list[tuple[str, Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seat:
    """A pipeline.

    name (str): Its name in the fleet.
    nlp (Language): The pipeline.
    transformer (LGUTransformer | None): The component whose decoder is a member.
    member (Member | None): What it has of its own.
    reason (str): Why it runs apart, if it does.
    """

    name: str
    nlp: Language
    transformer: LGUTransformer | None = None
    member: Member | None = None
    reason: str = ""

    def describe(self) -> str:
        """RETURNS (str): A line: in the shared pass or apart, and why."""
        if self.member is None or self.transformer is None:
            return f"{self.name}: apart, because {self.reason}"
        settings = self.transformer.shim.settings
        n_bytes = sum(
            X.numel() * X.element_size()
            for update in self.member.updates.values()
            for X in (update.A, update.B)
        )
        return (
            f"{self.name}: {settings.unmasking} in {self.member.n_layers} layers, adapter of "
            f"{n_bytes / 2**20:.1f} MiB in {len(self.member.updates)} modules"
        )

    def split(self) -> tuple[PipesT, PipesT] | None:
        """RETURNS (tuple[list, list] | None): The enabled pipes before the transformer and after
        it, as the pipeline has them now. None: the transformer is not among them, or apart."""
        pipes = self.nlp.pipeline
        places = [i for i, (_, pipe) in enumerate(pipes) if pipe is self.transformer]
        if self.member is None or len(places) != 1:
            return None
        return pipes[: places[0]], pipes[places[0] + 1 :]

    def apply(self, pipes: PipesT, docs: Iterable[Doc], batch_size: int) -> list[Doc]:
        """RETURNS (list[Doc]): The Docs after some pipes, as nlp.pipe applies them."""
        for name, pipe in pipes:
            docs = _pipe(
                docs, pipe, name, self.nlp.default_error_handler, {"batch_size": batch_size}
            )
        return list(docs)


def find_transformer(nlp: Language) -> LGUTransformer | str:
    """The component whose decoder can be shared.

    nlp (Language): A pipeline.
    RETURNS (LGUTransformer | str): The component, or why there is none.
    """
    owners = {name: pipe for name, pipe in nlp.components if any(decoder_shims(pipe))}
    if not owners:
        return "it has no decoder"
    if len(owners) > 1:
        return f"it has several decoders: in {', '.join(owners)}"
    ((name, pipe),) = owners.items()
    if not isinstance(pipe, LGUTransformer):
        return f"its decoder is inside the pipe {name!r}, not in an lgu_transformer"
    return pipe


def find_tokenizer(nlp: Language) -> Any:
    """What makes the subtokens that a pipeline's decoder reads.

    nlp (Language): A pipeline.
    RETURNS (PreTrainedTokenizerFast | None): Of its first decoder; None: it has none.
    """
    found = (shim for _, pipe in nlp.pipeline for shim in decoder_shims(pipe))
    return next((shim.ready.tokenizer for shim in found), None)
