"""Decoders of a fleet in one pass: as each alone, whatever the others are."""

import threading
from dataclasses import replace
from itertools import product

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spacy_lgu.decoder import mixed_layers
from spacy_lgu.decoder.decoder import LGUDecoder
from spacy_lgu.decoder.depth import cut_config, first_layers
from spacy_lgu.decoder.fleet import FleetDecoder
from spacy_lgu.decoder.loading import SharedBase
from spacy_lgu.decoder.membership import ApartError
from spacy_lgu.decoder.mixing import Member, MixedBatch, Update, order_by_depth
from spacy_lgu.decoder.products import OneDNNLinear
from spacy_lgu.decoder.refusals import FamilyError
from spacy_lgu.decoder.settings import LoraSettings

from ..conftest import IS_5
from .helpers import CPU, build, shake
from .hybrids import THREE, save_hybrid
from .hybrids import make_pair as make_hybrid
from .reference import make_pair, random_ids, relative_error
from .reference_families import FAMILIES, Family
from .test_mixtures import save_mixture


def lora(rank: int, modules="attention", **values) -> LoraSettings:
    return LoraSettings(rank=rank, dropout=0.0, modules=modules, **values)


# Patterns, depths, ranks, modules, variants and repeats of a fleet's pipelines.
PIPELINES = [
    {"unmasking": "ccbb", "lora": lora(2)},
    {"unmasking": "bbbb", "lora": lora(8, "all-linear", variant="rslora", alpha=2)},
    {"unmasking": "cb", "n_layers": 2, "repeat": 1, "lora": lora(4, ["q_proj", "down_proj"])},
    {"unmasking": "cccc", "tuning": "frozen"},
    {"unmasking": "bcb", "n_layers": 3, "lora": lora(2, ["o_proj"], alpha=32)},
    {
        "unmasking": "ccbb",
        "n_layers": 4,
        "repeat": 2,
        "lora": lora(3, "all-linear", alpha=4),
        "read_previous": True,
    },
    {"unmasking": "cbbb", "lora": lora(4, "all-linear", variant="dora", alpha=4)},
]


def build_all(folder, pipelines=PIPELINES, **options):
    """Decoders with different adapters, and the fleet that each is a member of."""
    built = [build(folder, **options, **values) for values in pipelines]
    for i, one in enumerate(built):
        shake(one.decoder, seed=i)
    fleet = FleetDecoder(built[0].shared)
    return fleet, [fleet.find_member(one) for one in built], built


@pytest.fixture(scope="module")
def seven(decoder_folder):
    return build_all(decoder_folder)


def run_alone(built, ids, lengths, who) -> torch.Tensor:
    """Each sequence by its own decoder, alone."""
    parts = numpy.split(ids, numpy.cumsum(lengths)[:-1])
    return torch.cat(
        [
            built[w].decoder.predict(p, numpy.array([len(p)]), 1000)
            for w, p in zip(who, parts, strict=True)
        ]
    )


def compare(fleet, members, built, lengths, who, *, max_items=1000, seed=0) -> float:
    """How far vectors are from those of each decoder alone, relative to their size."""
    lengths = numpy.array(lengths)
    ids = random_ids(lengths.tolist(), seed=seed)
    Y = fleet.predict(ids, lengths, [members[w] for w in who], max_items)
    expected = run_alone(built, ids, lengths, who)
    assert Y.shape == expected.shape
    assert Y.dtype == torch.float32
    return relative_error(Y, expected)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mix=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 6)), min_size=1, max_size=12),
    max_items=st.integers(1, 200),
)
def test_any_mix_equals_each_decoder_alone(seven, mix, max_items):
    lengths, who = zip(*mix, strict=True)
    assert compare(*seven, lengths, who, max_items=max_items) < 1e-5


@pytest.mark.usefixtures("no_filler")
def test_a_mix_is_one_forward_pass(seven, monkeypatch):
    fleet, members, _ = seven
    products = []
    forward = torch.nn.Linear.forward

    def count(self, x):
        products.append(tuple(x.shape[:2]))
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", count)
    monkeypatch.setattr(OneDNNLinear, "forward", count)  # that of some CPUs
    lengths = numpy.array([5, 4, 3, 2])
    fleet.predict(random_ids(lengths.tolist()), lengths, [members[i] for i in (0, 1, 2, 4)], 100)
    # 7 linear modules a layer. The third runs its sequence twice and ends after two layers, the
    # last ends after three.
    assert products == 14 * [(1, 17)] + 7 * [(1, 11)] + 7 * [(1, 9)]


@pytest.mark.parametrize(("lengths", "total"), [([5, 4, 3, 2], 20), ([30, 9, 3, 2], 48)])
def test_on_a_cpu_the_rows_of_a_mix_are_a_round_number(seven, monkeypatch, lengths, total):
    fleet, members, _ = seven
    mix, totals = MixedBatch.mix, []

    def record(*args, **kwargs):
        batch = mix(*args, **kwargs)
        totals.append(batch.n_subtokens)
        return batch

    monkeypatch.setattr(MixedBatch, "mix", record)
    who = [members[i] for i in (0, 1, 2, 4)]  # the third reads its sequence twice
    Y = fleet.predict(random_ids(lengths), numpy.array(lengths), who, 100)
    assert (totals, Y.shape[0]) == ([total], sum(lengths))


def test_deep_members_come_first_and_sequences_of_one_lie_together():
    deep, other, shallow = (Member(unmasked=(False,) * n) for n in (4, 4, 2))
    order = order_by_depth([shallow, deep, other, deep, shallow])
    assert order.tolist() == [1, 3, 2, 0, 4]


def test_another_order_is_an_error():
    deep, shallow = (Member(unmasked=(False,) * n) for n in (4, 2))
    with pytest.raises(ValueError, match="deep ones first"):
        MixedBatch.mix(numpy.arange(5), numpy.array([2, 3]), [shallow, deep], device=CPU)


def test_a_layer_runs_those_that_have_not_left():
    deep = Member(unmasked=(False, True, True))
    shallow = Member(unmasked=(False, False))
    batch = MixedBatch.mix(
        numpy.arange(6), numpy.array([2, 3, 1]), [deep, shallow, shallow], device=CPU
    )
    assert batch.running(1) is batch
    assert batch.directions(0) is False
    assert batch.directions(1).tolist() == [True, False, False]
    running = batch.running(2)
    assert running.ids.tolist() == [[0, 1]]
    assert running.cu_seqlens.tolist() == [0, 2]
    assert running.directions(2) is True


def test_sequences_and_members_must_be_as_many(seven):
    fleet, members, _ = seven
    with pytest.raises(ValueError, match="a member for each of 2 sequences, but got 1"):
        fleet.predict(numpy.arange(5), numpy.array([2, 3]), members[:1], 100)


def test_no_weight_of_the_base_is_there_twice(seven):
    fleet, _, built = seven
    base = {p.data_ptr() for p in fleet.shared.module.parameters()}
    for one in built:
        frozen = [p for p in one.decoder.base.parameters() if not p.requires_grad]
        assert {p.data_ptr() for p in frozen} <= base
    own = fleet._tree.first(4)
    assert {p.data_ptr() for p in own.parameters()} == base


def test_adapters_are_not_copied(seven):
    _, members, built = seven
    trained = {p.data_ptr() for one in built for _, p in one.decoder.trainable()}
    found = {X.data_ptr() for m in members for u in m.updates.values() for X in (u.A, u.B)}
    assert found <= trained
    assert len(trained - found) == 28  # lengths of DoRA, from which factors are made


def test_a_deeper_member_may_come_later(decoder_folder):
    fleet, members, built = build_all(decoder_folder, PIPELINES[2:3])
    assert fleet.shared.key[-1] == "2"
    built.append(build(decoder_folder, **PIPELINES[1]))
    members.append(fleet.find_member(built[1]))
    assert fleet.shared.key[-1] == "4"
    assert compare(fleet, members, built, [5, 7, 6], [0, 1, 0]) < 1e-5


def test_a_deeper_base_that_no_member_needs_is_not_kept(decoder_folder, monkeypatch):
    fleet, members, built = build_all(decoder_folder, PIPELINES[2:3])
    deeper = build(decoder_folder, **PIPELINES[1])
    with monkeypatch.context() as patch:
        patch.setattr(MixedBatch, "directions", lambda self, layer: False)
        with pytest.raises(ApartError, match="its vectors moved by"):
            fleet.find_member(deeper)
    assert (fleet.n_layers, fleet.shared.key[-1]) == (2, "2")
    assert compare(fleet, members, built, [5, 7], [0, 0]) < 1e-5


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({"quantization": "nf4"}, 1e-5),
        ({"quantization": "nf4", "dtype": "bfloat16"}, 0.05),
        ({"dtype": "bfloat16"}, 0.05),
    ],
)
def test_quantized_and_in_half_precision(decoder_folder, options, bound):
    fleet = build_all(decoder_folder, **options)
    assert compare(*fleet, [9, 3, 12, 1, 7, 5, 4], [0, 1, 2, 3, 4, 5, 6]) < bound


@pytest.mark.filterwarnings("ignore:The `sliding_window_pattern` attr:FutureWarning")
@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_families(family: Family):
    packed, _ = make_pair(family)
    check_family(packed, [(False, True)] * 4)


@pytest.mark.parametrize("hybrid", THREE, ids=[hybrid.model_type for hybrid in THREE])
def test_hybrids(hybrid):
    packed, _ = make_hybrid(hybrid)
    check_family(packed, [(False, True) if k in "ap" else (False,) for k in hybrid.kinds])


def check_family(packed, choices) -> None:
    """Every pattern at once, and depths that end after any layer."""
    shared = SharedBase(packed)
    fleet = FleetDecoder(shared)
    depths = [n for n in (1, 3) if can_be_cut(packed.config, n)]
    patterns = [*product(*choices), *(p[:n] for p in product(*choices) for n in depths)]
    members = [Member(unmasked=pattern) for pattern in patterns]
    lengths = numpy.resize([5, 8, 3], len(members))
    ids = random_ids(lengths.tolist())
    Y = fleet.predict(ids, lengths, members, 10_000)
    base = shared.fork()
    for pattern, own, found in zip(
        patterns, numpy.split(ids, lengths.cumsum()[:-1]), Y.split(lengths.tolist()), strict=True
    ):
        decoder = LGUDecoder(first_layers(base, len(pattern)), unmasked=pattern, dtype="float32")
        expected = decoder.predict(own, numpy.array([len(own)]), 1000)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def can_be_cut(config, n_layers: int) -> bool:
    try:
        cut_config(config, n_layers, where="tiny")
    except FamilyError:
        return False
    return True


def test_what_an_update_makes_of_an_output_by_eye():
    x, Y = torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])
    A, B = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0], [0.0]])
    lora = Y.clone()
    mixed_layers._add(Update(A, B, 2.0), x, lora)
    assert lora.tolist() == [[16, 20]]  # 2 * (1 + 2) more
    factor, bias = torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0])
    mixed_layers._add(Update(A, B, 2.0, factor, bias), x, Y)
    assert Y.tolist() == [[2 * (9 + 6) + 1, 3 * 18 + 2]]


# Threads, and members that come and go


def test_threads_run_mixes_of_their_own(seven):
    fleet, members, built = seven
    errors: list = []

    def work(seed: int) -> None:
        who = numpy.random.default_rng(seed).integers(0, 7, 8)
        lengths = numpy.random.default_rng(seed).integers(1, 15, 8)
        for _ in range(5):
            errors.append(compare(fleet, members, built, lengths, who, max_items=60, seed=seed))

    run_threads([threading.Thread(target=work, args=(seed,)) for seed in range(4)])
    assert len(errors) == 20
    assert max(errors) < 1e-5


def test_members_come_and_go_while_others_run(decoder_folder):
    fleet, members, built = build_all(decoder_folder, PIPELINES[2:4][::-1])
    errors: list = []
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            errors.append(compare(fleet, members, built, [7, 3, 9], [0, 1, 0]))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for values in PIPELINES[:3]:
        guest = build(decoder_folder, **values)
        member = fleet.find_member(guest)
        assert compare(fleet, [member, *members], [guest, *built], [5, 6, 4], [0, 1, 2]) < 1e-5
        del guest, member
    done.set()
    run_threads(threads, start=False)
    assert errors
    assert max(errors) < 1e-5


def run_threads(threads, *, start: bool = True) -> None:
    for thread in threads:
        if start:
            thread.start()
    for thread in threads:
        thread.join()


def test_what_fails_leaves_nothing_behind(seven):
    fleet, members, built = seven
    broken = replace(
        members[0], updates={n: u._replace(A=u.A[:, :3]) for n, u in members[0].updates.items()}
    )
    with pytest.raises(RuntimeError):
        fleet.predict(numpy.arange(4), numpy.array([4]), [broken], 100)
    assert mixed_layers._RUNNING.get() is None
    assert compare(fleet, members, built, [5, 6], [0, 1]) < 1e-5


def test_too_little_memory_halves_the_pack(decoder_folder, monkeypatch):
    fleet, members, built = build_all(decoder_folder, PIPELINES[:2])
    mix = MixedBatch.mix
    sizes = []

    def limited(ids, lengths, *args, **options):
        sizes.append(int(lengths.sum()))
        if len(ids) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return mix(ids, lengths, *args, **options)

    monkeypatch.setattr(MixedBatch, "mix", limited)
    assert compare(fleet, members, built, [5, 3, 4, 2, 6], [0, 1, 1, 0, 1]) < 1e-5
    assert sizes[0] == 20
    assert fleet._halving.most < 20


# Who runs apart


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"tuning": "full"}, "tuning = 'full'"),
        ({"dtype": "bfloat16"}, "dtype of its base is 'bfloat16', that of the fleet's 'float32'"),
        ({"quantization": "nf4"}, "quantization of its base is 'nf4'"),
    ],
)
def test_who_cannot_be_a_member(seven, decoder_folder, values, reason):
    with pytest.raises(ApartError, match=reason):
        seven[0].find_member(build(decoder_folder, **values))


def test_another_base_is_named(seven, other_decoder_folder):
    with pytest.raises(ApartError, match=r"identity of its base is '.{12}...'"):
        seven[0].find_member(build(other_decoder_folder))


def test_int8_runs_apart(decoder_folder):
    built = build(decoder_folder, quantization="int8")
    with pytest.raises(ApartError, match="int8"):
        FleetDecoder(built.shared).find_member(built)


def test_an_adapter_that_is_switched_off_runs_apart(decoder_folder):
    built = build(decoder_folder)
    built.decoder.adapter.base_model.disable_adapter_layers()
    with pytest.raises(ApartError, match="switched off"):
        FleetDecoder(built.shared).find_member(built)


@pytest.mark.skipif(not IS_5, reason="these hybrids came with transformers 5")
def test_adapters_in_recurrent_layers_run_apart(tmp_path):
    folder = save_hybrid(tmp_path, THREE[0])
    built = build(folder, unmasking="cb", lora=lora(2, "all-linear"))
    fleet = FleetDecoder(built.shared)
    with pytest.raises(ApartError, match="without softmax attention"):
        fleet.find_member(built)
    attention = build(folder, unmasking="cb", lora=lora(2))
    member = fleet.find_member(attention)
    assert compare(fleet, [member], [attention], [5, 7], [0, 0]) < 1e-5


def test_mixtures_of_experts(tmp_path):
    save_mixture("qwen3_moe", tmp_path)
    fleet, members, built = build_all(
        tmp_path, [{"lora": lora(2, ["q_proj", "v_proj"])}, {"unmasking": "bbb", "n_layers": 3}]
    )
    assert compare(fleet, members, built, [5, 7, 4, 9], [0, 1, 1, 0]) < 1e-5
    name = {"parameters": ("mlp.experts.down_proj",)} if IS_5 else {"modules": "all-linear"}
    experts = build(tmp_path, lora=LoraSettings(rank=2, dropout=0.0, **name))
    with pytest.raises(ApartError, match="on experts"):
        fleet.find_member(experts)


def test_a_member_proves_itself(decoder_folder, monkeypatch):
    built = build(decoder_folder)
    fleet = FleetDecoder(built.shared)
    monkeypatch.setattr(MixedBatch, "directions", lambda self, layer: False)
    with pytest.raises(ApartError, match="its vectors moved by"):
        fleet.find_member(built)
    monkeypatch.undo()
    monkeypatch.setattr(MixedBatch, "updates", lambda self, name: iter(()))
    with torch.no_grad():
        for name, parameter in built.decoder.trainable():
            if "lora_B" in name:
                parameter.zero_()
    with pytest.raises(ApartError, match=r"was not applied in 'layers.0.self_attn.q_proj'"):
        fleet.find_member(built)


def test_a_family_that_does_not_run_mixed_is_told(decoder_folder, monkeypatch):
    built = build(decoder_folder)
    fleet = FleetDecoder(built.shared)

    def fail(self, layer):
        raise RuntimeError("a shape")

    monkeypatch.setattr(MixedBatch, "running", fail)
    with pytest.raises(ApartError, match=r"does not run mixed \(RuntimeError: a shape\)"):
        fleet.find_member(built)
