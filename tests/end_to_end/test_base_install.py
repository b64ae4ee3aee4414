"""`charrnn` where Typer is not installed: the commands of a device, and what to install for the others."""

import subprocess
import sys

import pytest

WITHOUT_TYPER = "import sys; sys.modules['typer'] = None; import charrnn.cli.main; charrnn.cli.main.main(sys.argv[1:])"


def charrnn_without_typer(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT_TYPER, *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("words", [(), ("--help",), ("--debug", "--help")], ids=" ".join)
def test_the_list_holds_the_commands_of_a_device_and_says_what_the_others_need(words: tuple[str, ...]) -> None:
    done = charrnn_without_typer(*words)
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines() if line[:3].strip()]
    assert listed[:6] == ["sample", "score", "complete", "verify", "benchmark", "info"]
    assert "For train, export and report: pip install 'charrnn-edge[train,export]'" in done.stdout


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("train",), "train"),
        (("train", "names.txt", "--help"), "train"),
        (("export", "--format", "onnx"), "export"),
        (("report",), "train"),
    ],
    ids=str,
)
def test_a_command_that_typer_makes_says_in_one_line_what_to_install(words: tuple[str, ...], extra: str) -> None:
    done = charrnn_without_typer(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"charrnn: `charrnn {words[0]}` needs typer, which this installation lacks: pip install "
        f"'charrnn-edge[{extra}]'\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("smaple",), "No such command 'smaple'. Did you mean 'sample'?"),
        (("--nonsense",), "No such option: --nonsense"),
        (("train1", "--help"), "No such command 'train1'. Did you mean 'train'?"),
    ],
    ids=str,
)
def test_a_wrong_word_is_refused_as_it_is_where_typer_is_installed(words: tuple[str, ...], message: str) -> None:
    with_typer = [sys.executable, "-m", "charrnn", *words]
    for done in (
        charrnn_without_typer(*words),
        subprocess.run(with_typer, capture_output=True, encoding="utf-8", check=False),
    ):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"charrnn: {message}; `charrnn --help` lists what there is\n"


def test_the_version_and_a_device_command_need_no_typer() -> None:
    assert charrnn_without_typer("--version").stdout.startswith("charrnn ")
    done = charrnn_without_typer("--debug", "info", "absent-model")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("charrnn: there is no model at absent-model")
