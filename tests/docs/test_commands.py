import pytest

from .commands import check_commands, rewrite_bash, rewrite_python

TRAIN = "python -m spacy train configs/lgu_mistral_ner.cfg --output training"


@pytest.mark.parametrize(
    "commands",
    [
        "git clone https://example.org/project && cd project",
        'pip install -e ".[cuda12x,package]"  # for CUDA 12',
        "make demo",
        f"{TRAIN} --gpu-id 0 --components.transformer.model.unmasking cccb",
        f"HF_HOME=/data/hub {TRAIN} \\\n    --paths.train my/train.spacy > log.txt",
        "python -m spacy lgu convert train.conll other.conll train.spacy --column 1 --column 2",
        "python -m spacy project run train . --vars.decoder Qwen/Qwen3-8B --vars.gpu_id 0",
        "python -m benchmarks.throughput --texts texts.txt --n-texts 10",
    ],
)
def test_commands_that_can_be_run_elsewhere(commands):
    check_commands(commands)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("pip install '.[cuda11x]'", "there is no extra 'cuda11x'"),
        ("make demos", "there is no target 'demos'"),
        ("makee demo", "there is no program 'makee'"),
        ("python benchmarks/fast.py", "there is no benchmarks/fast.py"),
        ("python scripts/draw_masks.py a.svg --colour red", "has no option --colour"),
        ("python -m benchmarks.fast", "there is no module 'benchmarks.fast'"),
        ("python -m benchmarks.throughput --colour red", "has no option --colour"),
        ("python benchmarks/throughput.py", r"imports benchmarks\.[a-z.]+: run it by python -m"),
        ("python -m spacy lgu conver a.conll b.spacy", "there is no command 'conver'"),
        ("python -m spacy lgu convert a.conll b.spacy --colum 1", "No such option: --colum"),
        ("python -m spacy lgu convert a.conll b.spacy --column one", "valid integer"),
        ("python -m spacy lgu package training/model-best packages", "Missing .*name"),
        (f"{TRAIN} --components.transformer.unmasking ccbb", "has no 'components.transformer.unma"),
        ("python -m spacy project run trian .", "no workflow or command 'trian'"),
        ("python -m spacy project run train . --vars.gpu 0", "project.yml has no 'vars.gpu'"),
    ],
)
def test_commands_that_cannot(command, message):
    with pytest.raises(ValueError, match=message):
        check_commands(f"ls\n{command}")


def test_what_is_rewritten():
    assert rewrite_bash(f"{TRAIN} \\\n  --gpu-id 0 | tee log.txt\n# done") == (
        f"{TRAIN} --gpu-id -1 --training.max_steps 2 --training.eval_frequency 2 | tee log.txt\n"
        "# done\n"
    )
    assert rewrite_bash("ls 'a|b' # all", ["-l"]) == "ls 'a|b' -l # all\n"
    assert rewrite_bash("python -m spacy lgu adapt a.cfg b --minutes 60 --gpu-id 0") == (
        "python -m spacy lgu adapt a.cfg b  --gpu-id -1 --steps 2 --batch-size 256 --window 64\n"
    )
    assert rewrite_python("spacy.require_gpu(0)") == "spacy.require_cpu()"
