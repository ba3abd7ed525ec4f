import json
import os
import shutil
import signal
from pathlib import Path

import numpy
import pytest
import spacy
import torch
from safetensors.torch import load_file, save_file
from spacy.util import load_config, registry
from torch.testing import assert_close
from typer.testing import CliRunner

from spacy_lgu.decoder import building
from spacy_lgu.decoder.adapter import check_adapter
from spacy_lgu.decoder.settings import AdamWSettings, DecoderSettings, LoraSettings
from spacy_lgu.decoder.source import find_source
from spacy_lgu.pretraining import adaptation
from spacy_lgu.pretraining.adaptation import AdaptationSettings, adapt_decoder
from spacy_lgu.pretraining.learner import Learner, Progress
from tests.conftest import LISTENER, PASSING_PIPE, layer_config, make_nlp, ner_config
from tests.killing import kill_everywhere

from ..cli.conftest import run

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _short_validation(monkeypatch):
    monkeypatch.setattr(adaptation, "_VALIDATION_SUBTOKENS", 256)


@pytest.fixture
def adapt(decoder_folder, text_file, tmp_path):
    shutil.copy(text_file, tmp_path / "other.jsonl.xz")

    def run(
        output=tmp_path / "out",
        *,
        force=False,
        texts=None,
        valid=text_file,
        tokenizer_config=None,
        **values,
    ):
        decoder_values = {"unmasking": "ccbb", "dtype": "float32"}
        names = ("name", "unmasking", "n_layers", "repeat", "dtype", "quantization")
        names += ("tuning", "lora", "optimizer")
        decoder_values |= {name: values.pop(name) for name in names if name in values}
        decoder = DecoderSettings(
            **{
                "name": str(decoder_folder),
                "lora": LoraSettings(rank=4, alpha=8, modules="all-linear", dropout=0.1),
                **decoder_values,
            }
        )
        settings = AdaptationSettings(
            **{
                "objective": "masked-next",
                "steps": 8,
                "batch_size": 128,
                "window": 32,
                "learn_rate": 0.02,
                "warmup_steps": 2,
                **values,
            }
        )
        return adapt_decoder(
            decoder,
            tokenizer_config or {},
            settings,
            texts=texts or [text_file],
            valid=tmp_path / valid,
            output=output,
            device=CPU,
            force=force,
        )

    return run


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_lora_leaves_an_adapter_that_training_starts_from(adapt, tmp_path, decoder_folder):
    progress = adapt(steps=30)
    assert progress.history[-1][3] < 0.8 * progress.history[0][3]
    assert files(tmp_path / "out") == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.json",
    ]
    nlp = make_nlp(decoder_folder, lora_path=str(tmp_path / "out"), lora_modules="all-linear")
    adapter = nlp.get_pipe("transformer").model.shims[0].ready.decoder.adapter
    assert adapter.active_adapters == ["default"]  # continued, no second one


def test_the_adapter_is_the_one_that_was_trained(adapt, tmp_path, monkeypatch):
    learners = []
    save = Learner.save

    def remember(self, folder):
        learners.append(self)
        save(self, folder)

    monkeypatch.setattr(Learner, "save", remember)
    adapt()
    saved = load_file(tmp_path / "out" / "adapter_model.safetensors")
    trained = dict(learners[0].decoder.trainable())
    assert len(saved) == len(trained) == 2 * 7 * 4
    found = {name.replace("base_model.model.", ""): tensor for name, tensor in saved.items()}
    for name, parameter in trained.items():
        assert_close(found[name.replace("base.", "", 1).replace(".default", "")], parameter.data)
        if "lora_B" in name:
            assert parameter.abs().max() > 0


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_first_layers_are_adapted_alone(adapt, tmp_path, decoder_folder, tuning):
    """With the head, which lies behind the layers that are left out."""
    progress = adapt(unmasking="cb", n_layers=2, tuning=tuning)
    assert progress.history[-1][3] < progress.history[0][3]
    assert json.loads((tmp_path / "out" / "training.json").read_text())["n_layers"] == 2
    options = {"unmasking": "cb", "n_layers": 2}
    if tuning == "full":
        options["name"] = str(tmp_path / "out")
    else:
        options["lora_path"] = str(tmp_path / "out")
    nlp = make_nlp(decoder_folder, **options)
    assert len(nlp.get_pipe("transformer").shim.ready.decoder.unmasked) == 2


def test_sequences_are_adapted_once_whatever_repeat_says(adapt, tmp_path):
    adapt(repeat=3)
    first = load_file(tmp_path / "out" / "adapter_model.safetensors")
    adapt(output=tmp_path / "again")
    second = load_file(tmp_path / "again" / "adapter_model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_lora_plus_gives_the_matrices_b_a_rate_of_their_own(adapt, monkeypatch):
    step = Learner.step
    groups = []

    def seen(self, packed, **options):
        names = {id(p): name for name, p in self.decoder.trainable()}
        groups[:] = [
            ({names[id(p)].split(".")[-3] for p in group["params"]}, group["peak"])
            for group in self.optimizers[0].param_groups
        ]
        return step(self, packed, **options)

    monkeypatch.setattr(Learner, "step", seen)
    adapt(steps=1, learn_rate=0.02, optimizer=AdamWSettings(lora_plus_ratio=4))
    assert groups == [({"lora_A"}, 0.02), ({"lora_B"}, 0.08)]


def test_full_leaves_a_decoder_in_float32(adapt, tmp_path):
    progress = adapt(tuning="full", steps=30, learn_rate=0.005)
    assert progress.history[-1][3] < 0.8 * progress.history[0][3]
    nlp = make_nlp(tmp_path / "out", tuning="frozen")
    assert nlp("Ann Lee")._.trf_data.model_output.last_hidden_state.shape == (1, 3, 64)
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert {t.dtype for t in after.values()} == {torch.float32}
    assert "lm_head.weight" not in after


def test_causal_adaptation_of_a_causal_pattern(adapt):
    progress = adapt(objective="causal", unmasking="cccc", steps=30)
    assert progress.history[-1][3] < 0.8 * progress.history[0][3]


def test_quantized_decoders_are_adapted(adapt):
    progress = adapt(quantization="nf4", steps=20)
    assert progress.history[-1][3] < progress.history[0][3]


def test_minutes_instead_of_steps(adapt):
    progress = adapt(steps=None, minutes=0.01)
    assert progress.seconds >= 0.6
    assert progress.step >= 1


def test_what_was_done_is_recorded(adapt, tmp_path, decoder_folder):
    adapt()
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["name"] == str(decoder_folder)
    assert (record["unmasking"], record["objective"]) == ("ccbb", "masked-next")
    assert (record["step"], record["history"][0][:2]) == (8, [0, 0.0])


def test_an_interrupted_run_equals_a_straight_one(adapt, tmp_path, monkeypatch):
    adapt(tmp_path / "straight", validate_every=1e9)
    step = Learner.step
    n_steps = []

    def killed(self, packed, **options):
        n_steps.append(1)
        if len(n_steps) == 5:
            raise SystemExit
        return step(self, packed, **options)

    monkeypatch.setattr(Learner, "step", killed)
    with pytest.raises(SystemExit):
        adapt(tmp_path / "resumed", validate_every=0)
    assert files(tmp_path / "resumed") == ["checkpoint"]
    adapt(tmp_path / "resumed", validate_every=1e9)
    assert len(n_steps) == 5 + 4  # 4 of 8 steps were in the checkpoint
    name = "adapter_model.safetensors"
    straight, resumed = (load_file(tmp_path / n / name) for n in ("straight", "resumed"))
    for key, value in straight.items():
        assert_close(resumed[key], value, rtol=0, atol=0)


def test_a_run_that_is_killed_anywhere(adapt, tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, "_BUFFER", 16)

    def weights(folder):
        return (folder / "adapter_model.safetensors").read_bytes()

    def prepare():
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / "earlier", place / "out")

    def run():
        adapt(place / "out", steps=3, force=True)

    place = tmp_path / "place"
    adapt(tmp_path / "earlier", steps=1)
    adapt(tmp_path / "straight", steps=3)
    before, after = weights(tmp_path / "earlier"), weights(tmp_path / "straight")
    states = []
    for event in kill_everywhere(run, below=place, prepare=prepare, every=4):
        states.append(weights(place / "out"))
        if event in (8, 16):  # each takes as long as a whole run
            run()
            assert weights(place / "out") == after
            assert (files(place), "checkpoint" in files(place / "out")) == (["out"], False)
    n_after = states.count(after)
    assert states == [before] * (len(states) - n_after) + [after] * n_after
    assert 0 < n_after < len(states)


def test_a_run_that_is_killed_between_two_renames(adapt, tmp_path, monkeypatch):
    adapt()
    (tmp_path / "out").rename(tmp_path / ".out.previous")
    check_adapter(tmp_path / "out")
    with pytest.raises(FileExistsError, match="already holds a finished result"):
        adapt()
    adapt(force=True, tuning="full", dtype="auto")
    (tmp_path / "out").rename(tmp_path / ".out.previous")
    assert find_source(str(tmp_path / "out")).folder == tmp_path / ".out.previous"


def test_what_killed_writers_of_checkpoints_left_is_no_obstacle(adapt, tmp_path):
    checkpoint = tmp_path / "out" / "checkpoint"
    (checkpoint / ".checkpoint.safetensors.partial-1-0123abcd").mkdir(parents=True)
    for name in (".tmpA1b2C3", "checkpoint.safetensors.partial"):
        (checkpoint / name).touch()
    adapt()
    assert "adapter_config.json" in files(tmp_path / "out")


def test_a_damaged_checkpoint_is_named(adapt, tmp_path):
    checkpoint = tmp_path / "out" / "checkpoint" / "checkpoint.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"half")
    message = r"checkpoint '.*/checkpoint.safetensors' is damaged: .*Remove it to begin anew"
    with pytest.raises(ValueError, match=message):
        adapt()
    for metadata in (None, {"identity": "{"}, {"identity": "[]"}):
        save_file({"x": torch.zeros(1)}, checkpoint, metadata=metadata)
        with pytest.raises(ValueError, match=message):
            adapt()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"files": "notes.txt"}', '{"files": [["a"]]}', "\udcff", "[" * 100_000],
)
def test_a_damaged_record_is_named(adapt, tmp_path, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "training.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"training.json' is damaged: "):
        adapt(force=True)


def test_an_interrupt_leaves_a_finished_adapter(adapt, tmp_path, monkeypatch):
    step = Learner.step

    def interrupted(self, packed, **options):
        if self.progress.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, packed, **options)

    monkeypatch.setattr(Learner, "step", interrupted)
    progress = adapt(steps=1000)
    assert progress.step == 6  # 4 steps and the decay
    assert "adapter_config.json" in files(tmp_path / "out")


def test_a_finished_result_is_not_replaced_unless_told(adapt, tmp_path):
    adapt()
    with pytest.raises(FileExistsError, match="already holds a finished result"):
        adapt()
    adapt(force=True, tuning="full")
    assert "config.json" in files(tmp_path / "out")
    assert "adapter_config.json" not in files(tmp_path / "out")


def test_other_files_are_never_replaced(adapt, tmp_path, decoder_folder):
    adapt()
    for folder in (tmp_path / "out", tmp_path / "notes"):
        folder.mkdir(exist_ok=True)
        (folder / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match=r"holds other files \(notes.txt\)"):
            adapt(folder, force=True)
        assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "own" / "checkpoint").mkdir(parents=True)
    (tmp_path / "own" / "checkpoint" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds other files \(notes.txt\)"):
        adapt(tmp_path / "own", force=True)
    with pytest.raises(ValueError, match="is the folder of the decoder itself"):
        adapt(decoder_folder, force=True)


def test_places_that_cannot_be_replaced(adapt, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file or a mount point"):
        adapt(tmp_path / "file")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path)
    with pytest.raises(ValueError, match="is a file or a mount point"):
        adapt(tmp_path)


def test_the_working_directory_and_links_as_output(adapt, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    adapt(Path("."))
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    adapt(tmp_path / "link")
    for name in ("here", "disk"):
        assert "adapter_config.json" in files(tmp_path / name)
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    "changed",
    [
        {"lora": LoraSettings(rank=4, alpha=9, modules="all-linear")},
        {"mask_rate": 0.5},
        {"dtype": "bfloat16"},
        {"n_layers": 4},
        {"optimizer": AdamWSettings(lora_plus_ratio=4)},
        {"seed": 1},
        {"window": 31},
        {"batch_size": 65},
        {"quantization": "nf4"},
        {"tuning": "full"},
        {"tokenizer_config": {"mask_token": "z"}},
        {"valid": "other.jsonl.xz"},
    ],
)
def test_a_run_is_continued_with_the_same_settings_only(adapt, monkeypatch, changed):
    step = Learner.step

    def killed(self, packed, **options):
        if self.progress.step == 1:
            raise SystemExit
        return step(self, packed, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "step", killed)
        with pytest.raises(SystemExit):
            adapt(validate_every=0)
    (name,) = changed
    name = {"optimizer": "lora_plus_ratio"}.get(name, name)
    if name != "dtype":  # which depends on the device; all else is known before a weight is read
        monkeypatch.setattr(building, "load_shared_base", None)
    with pytest.raises(ValueError, match=f"is of a run with .*{name} = "):
        adapt(**changed)


def test_a_run_that_diverged_goes_on_at_a_lower_rate(adapt, monkeypatch):
    step = Learner.step
    rates = []

    def diverging(self, packed, **options):
        rates.append(self.optimizers[0].param_groups[0]["peak"])
        if len(rates) == 4:
            next(p for _, p in self.decoder.trainable()).data[:] = float("nan")
        return step(self, packed, **options)

    monkeypatch.setattr(Learner, "step", diverging)
    with pytest.raises(ValueError, match=r"diverged. Repeat the call with a lower learning rate"):
        adapt(validate_every=0)
    progress = adapt(learn_rate=0.01)
    assert rates == [0.02] * 4 + [0.01] * 5
    assert progress.step == 8


def test_a_mask_token_that_the_decoder_does_not_know(adapt):
    with pytest.raises(ValueError, match=r"mask token '\[M\]' is not in the decoder's vocabulary"):
        adapt(tokenizer_config={"mask_token": "[M]"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objective": "masked"}, "objective is 'masked': expected 'causal' or 'masked-next'"),
        ({"steps": 5, "minutes": 1}, "exactly one of minutes and steps"),
        ({"steps": None}, "exactly one of minutes and steps"),
        ({"steps": 0}, "steps must be positive, but is 0"),
        ({"learn_rate": -1}, "learn_rate must be positive"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative, but is -0.1"),
        ({"validate_every": -1}, "validate_every must not be negative, but is -1"),
        ({"decay": 0}, r"decay must lie in \(0, 1\]"),
        ({"tuning": "frozen"}, "tuning = 'frozen' trains nothing"),
        ({"objective": "causal"}, "it would learn to copy"),
        ({"unmasking": "cccc"}, "for patterns with unmasked groups"),
        ({"window": 2}, "window of 2 subtokens leaves room for 1"),
        ({"window": 100}, "window is 100 subtokens, but the decoder was made for at most 64"),
    ],
)
def test_bad_settings_are_found_before_a_weight_is_read(adapt, values, message, monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("weights were read")

    monkeypatch.setattr(building, "load_shared_base", load)
    with pytest.raises(ValueError, match=message):
        adapt(**values)


def test_missing_text_is_found_before_a_weight_is_read(adapt, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "load_shared_base", None)
    with pytest.raises(FileNotFoundError):
        adapt(texts=[tmp_path / "nothing.jsonl"])


@pytest.fixture
def config_file(decoder_folder, tmp_path):
    nlp = spacy.blank("en")
    config = {"model": layer_config(decoder_folder)}
    nlp.add_pipe("lgu_transformer", name="transformer", config=config)
    nlp.add_pipe("ner", config=ner_config(LISTENER))
    nlp.config.to_disk(tmp_path / "train.cfg")
    return tmp_path / "train.cfg"


def run_command(*args):
    registry.cli.get_all()  # adds the command, as `python -m spacy` does first
    return CliRunner().invoke(spacy.cli.app, ["lgu", "adapt", *map(str, args)])


def test_command_takes_decoder_and_pattern_from_the_config(config_file, text_file, tmp_path):
    arguments = [
        config_file, tmp_path / "out", "--text", text_file, "--text", text_file,
        "--valid", text_file, "--steps", 6, "--batch-size", 128, "--window", 32,
        "--components.transformer.model.unmasking", "cbbb",
    ]  # fmt: skip
    result = run_command(*arguments)
    assert result.exit_code == 0, result.output
    assert "nats per predicted subtoken" in " ".join(result.output.split())  # wasabi wraps lines
    assert result.output.strip().splitlines()[-1] == (
        f"python -m spacy train {config_file} --components.transformer.model.unmasking cbbb "
        f"--components.transformer.model.lora.path {tmp_path / 'out'}"
    )
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (record["unmasking"], record["step"]) == ("cbbb", 6)


def test_command_without_a_training_block_and_with_any_output(
    config_file, text_file, tmp_path, monkeypatch
):
    config = load_config(config_file)
    del config["training"]
    config.to_disk(config_file)
    monkeypatch.chdir(tmp_path)
    result = run_command(
        config_file, "my 2024", "--text", text_file, "--valid", text_file, "--steps", 1,
        "--batch-size", 64, "--window", 32,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output.strip().endswith(f"model.lora.path '{tmp_path / 'my 2024'}'")


def test_command_says_where_a_whole_decoder_goes(config_file, text_file, tmp_path):
    result = run_command(
        config_file, tmp_path / "out", "--text", text_file, "--valid", text_file, "--steps", 1,
        "--batch-size", 64, "--window", 32, "--components.transformer.model.tuning", "full",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"--components.transformer.model.name {tmp_path / 'out'}" in result.output


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_command_that_follows_can_be_given(decoder_folder, tmp_path, monkeypatch, tuning):
    (tmp_path / "own.py").write_text(PASSING_PIPE.format(f"test_adapt_{tuning}"))
    nlp = spacy.blank("en")
    model = layer_config(decoder_folder, unmasking="ccbb")
    nlp.add_pipe("lgu_transformer", config={"model": {**model, "revision": "main"}})
    nlp.config.to_disk(tmp_path / "a.cfg")
    monkeypatch.setattr(
        adaptation, "adapt_decoder", lambda *_, **__: Progress(history=[[0, 0.0, None, 2.0]])
    )
    printed = run(
        "lgu", "adapt", tmp_path / "a.cfg", tmp_path / "out", "--text", "t", "--valid", "v",
        "--steps", 1, "--code", tmp_path / "own.py",
        "--components.lgu_transformer.model.tuning", tuning,
    )  # fmt: skip
    where = "--components.lgu_transformer.model"
    ending = {
        "lora": f"{where}.lora.path {tmp_path / 'out'}",
        "full": f"{where}.name {tmp_path / 'out'} {where}.revision null",
    }
    assert printed.strip().splitlines()[-1] == (
        f"python -m spacy train {tmp_path / 'a.cfg'} --code {tmp_path / 'own.py'} "
        f"{where}.tuning {tuning} {ending[tuning]}"
    )


def test_settings_reach_the_training(adapt, tmp_path, monkeypatch):
    seen = []

    def train(learner, budget, **options):
        (optimizer,) = learner.optimizers
        decays = {group["weight_decay"] for group in optimizer.param_groups}
        weights = torch.cat([p.flatten() for _, p in learner.decoder.trainable()]).detach()
        stream = numpy.random.default_rng(learner.identity["seed"])
        assert learner.windows.rng.bit_generator.state == stream.bit_generator.state
        seen.append((learner, budget, options, decays, weights, learner.progress.history[0][3]))

    monkeypatch.setattr(adaptation, "train", train)
    for seed in (3, 4):
        adapt(
            tmp_path / str(seed), steps=7, mask_rate=0.5, warmup_steps=5,
            decay=0.75, weight_decay=0.3, grad_clip=2.5, validate_every=9.0, seed=seed,
        )  # fmt: skip
    learner, budget, options, decays, weights, score = seen[0]
    assert (budget.total, budget.unit, budget.warmup, budget.decay) == (7, "step", 5, 0.75)
    assert (options["clip"], options["validate_every"]) == (2.5, 9.0)
    assert decays == {0.3}
    assert (learner.objective.mask_rate, learner.objective.special_ids) == (0.5, (0, 1))
    assert not torch.equal(weights, seen[1][4])
    assert score == seen[1][5]  # validated on the same windows, whatever the seed


def test_command_passes_its_options_on(decoder_folder, text_file, tmp_path, monkeypatch):
    nlp = spacy.blank("en")
    for name, pattern in (("first", "ccbb"), ("second", "bbbb")):
        config = {"model": layer_config(decoder_folder, unmasking=pattern)}
        nlp.add_pipe("lgu_transformer", name=name, config=config)
    config = nlp.config.copy()
    config["nlp"]["pipeline"] = [*nlp.pipe_names, "own"]
    config["components"]["own"] = {"factory": "test_adapt_own"}
    config.to_disk(tmp_path / "train.cfg")
    (tmp_path / "own_adapt.py").write_text(PASSING_PIPE.format("test_adapt_own"))
    seen = {}

    def adapt_decoder(decoder, tokenizer_config, settings, **options):
        seen.update(decoder=decoder, settings=settings, **options)
        return Progress(history=[[0, 0.0, None, 2.0]])

    monkeypatch.setattr(adaptation, "adapt_decoder", adapt_decoder)
    run(
        "lgu", "adapt", tmp_path / "train.cfg", tmp_path / "out", "--text", text_file,
        "--text", tmp_path / "b.jsonl", "--valid", tmp_path / "c.jsonl", "--objective", "causal",
        "--minutes", 1.5, "--mask-rate", 0.3, "--learn-rate", 0.001, "--warmup-steps", 7,
        "--decay", 0.5, "--batch-size", 96, "--window", 48, "--validate-every", 2.5,
        "--component", "second", "--code", tmp_path / "own_adapt.py", "--force",
        "--training.seed", 5,
    )  # fmt: skip
    assert seen["settings"] == AdaptationSettings(
        objective="causal", minutes=1.5, mask_rate=0.3, learn_rate=0.001, warmup_steps=7,
        decay=0.5, batch_size=96, window=48, validate_every=2.5, seed=5,
    )  # fmt: skip
    assert seen["decoder"].unmasking == "bbbb"
    assert seen["texts"] == [text_file, tmp_path / "b.jsonl"]
    assert (seen["valid"], seen["output"]) == (tmp_path / "c.jsonl", tmp_path / "out")
    assert seen["force"] is True
