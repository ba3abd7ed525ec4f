import pytest

from ..conftest import entity_examples
from .labelers import blank, train


@pytest.fixture(scope="session")
def trained():
    """A trained pipeline that knows its four sentences. Not to be changed."""
    nlp = blank()
    train(nlp, entity_examples(nlp))
    return nlp
