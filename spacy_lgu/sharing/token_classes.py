"""The head of a sequence labeler as the classifier of a model of transformers."""

from dataclasses import dataclass
from typing import Any

import numpy
from spacy.language import Language
from transformers import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING, PretrainedConfig

from ..labeling.tags import tag_names

_LISTENERS = (
    "spacy-lgu.TransformerListener.v1",
    "spacy-transformers.TransformerListener.v1",
)
_TRANSFORMERS = ("lgu_transformer", "transformer")
_OWN = "spacy-lgu.Tok2VecLGU.v1"
_POOLING = "reduce_first.v1"


@dataclass(frozen=True)
class TokenClasses:
    """A linear layer on the vector of a token's first subtoken.

    names (list[str]): The tags by number.
    weight (ndarray): Shape: (tags, width).
    bias (ndarray): Shape: (tags,).
    """

    names: list[str]
    weight: numpy.ndarray
    bias: numpy.ndarray


def check_head(
    head: str, components: dict[str, Any], transformer: str, config: PretrainedConfig
) -> None:
    """Refuse what is more than a linear layer on the vector of a first subtoken.

    head (str): Name of the component.
    components (dict): Those of the pipeline's config.
    transformer (str): The component with the decoder.
    config (PretrainedConfig): The decoder's config. Raises ValueError that says what is there, what
        is expected and what to do.
    """
    advice = f"Export without --head {head}, and use the pipeline itself for the labels."
    if head not in components:
        raise ValueError(
            f"There is no component {head!r} in the pipeline: expected one of "
            f"{sorted(components)}, of the factory sequence_labeler."
        )
    factory = components[head].get("factory")
    if factory != "sequence_labeler":
        raise ValueError(
            f"The component {head!r} is of the factory {factory!r}, which no class of transformers "
            f"computes: expected 'sequence_labeler'. {advice}"
        )
    tok2vec = components[head].get("model", {}).get("tok2vec", {})
    architecture = tok2vec.get("@architectures")
    n_transformers = sum(c.get("factory") in _TRANSFORMERS for c in components.values())
    upstream = (transformer, "*") if n_transformers == 1 else (transformer,)
    listens = architecture in _LISTENERS and tok2vec.get("upstream") in upstream
    if not listens and not (architecture == _OWN and head == transformer):
        raise ValueError(
            f"The component {head!r} does not read the vectors of {transformer!r} alone (its "
            f"tok2vec is {architecture!r}). {advice}"
        )
    pooling = tok2vec.get("pooling", {}).get("@layers")
    if pooling != _POOLING:
        raise ValueError(
            f"The component {head!r} reads tokens by {pooling!r}, but token classification in "
            f"transformers reads single subtokens: expected {_POOLING!r}, the first of each token. "
            f"{advice}"
        )
    if type(config) not in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING:
        raise ValueError(
            f"The installed transformers has no class for token classification with decoders of "
            f"the family {config.model_type!r}. {advice}"
        )


def read_head(nlp: Language, head: str) -> TokenClasses:
    """The head of a loaded pipeline.

    nlp (Language): The pipeline.
    head (str): Name of a component that check_head accepts.
    RETURNS (TokenClasses): Its probabilities are the calibrated ones.
    """
    labeler: Any = nlp.get_pipe(head)
    output = labeler.model.get_ref("output_layer")
    W, b = (labeler.model.ops.to_numpy(output.get_param(name)) for name in ("W", "b"))
    T = labeler.temperature
    return TokenClasses(tag_names(labeler.labels), W / T, b / T)


def name_classes(config: PretrainedConfig, classes: TokenClasses) -> None:
    """Put the tags into a config, which is changed in place."""
    config.id2label = dict(enumerate(classes.names))
    config.label2id = {name: number for number, name in config.id2label.items()}
