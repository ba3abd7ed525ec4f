"""What is said of the machine."""

import pytest

from spacy_lgu.inspection.machine import Gpu, attention_kind


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
