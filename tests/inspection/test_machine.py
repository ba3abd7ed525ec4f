"""What is said of the machine."""

import pytest

from spacy_lgu.decoder.settings import DecoderSettings
from spacy_lgu.inspection.machine import Gpu, attention_kind, resolve_products


@pytest.mark.parametrize(
    ("dtype", "head_width", "capability", "kind"),
    [
        ("float32", 64, None, "scaled_dot_product_attention"),
        ("bfloat16", 64, (9, 0), "varlen_attn"),
        ("bfloat16", 64, (7, 5), "plain math"),
        ("float32", 64, (9, 0), "plain math"),
        ("bfloat16", 20, (9, 0), "plain math"),
    ],
)
def test_the_way_of_attention(dtype, head_width, capability, kind):
    gpu = (
        None
        if capability is None
        else Gpu(name="any", capability=capability, free=2**30, total=2**31)
    )
    assert attention_kind(dtype, head_width, gpu=gpu).startswith(kind)


@pytest.mark.parametrize(
    ("products", "here"), [("exact", "exact"), ("auto", "exact"), ("int8", None)]
)
def test_products_on_a_gpu(products, here):
    settings = DecoderSettings(name="any", unmasking="cb", products=products)
    assert resolve_products(settings, gpu=True) == here
