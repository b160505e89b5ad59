"""The tree of commands: what is listed, what every help looks like, near misses, reserved names."""

import re

import click
import pytest
from click.testing import CliRunner

from edgeslm.cli.build import STEPS
from edgeslm.cli.main import cli, main
from edgeslm.cli.tree import EXAMPLES, TREE, Branch

#: what the option --json says everywhere
_JSON = r"(One JSON line|JSON lines|Events as JSON lines), also on a terminal\."
BUILT = [name for name, command in TREE.items() if command.place is not None]


def run(*words):
    return CliRunner().invoke(cli, list(words))


def commands(branch=cli, words=()):
    """Every command of the tree as click sees it, by the words behind `edgeslm`."""
    context = click.Context(branch)
    for name in branch.list_commands(context):
        command = branch.get_command(context, name)
        yield (*words, name), command
        if isinstance(command, Branch):
            yield from commands(command, (*words, name))


def test_every_command_of_the_table_is_in_the_tree():
    assert [" ".join(words) for words, _ in commands()] == BUILT


def test_the_help_lists_each_command_under_its_purpose_with_an_example():
    said = run("--help").output
    sections = said.split("\n\n")
    for name in BUILT:
        command = TREE[name]
        if " " not in name:
            headed = said[said.index(f"\n{command.purpose.capitalize()}:") :]
            assert f"\n  {name} " in headed
            assert command.summary in said
    for purpose in {TREE[name].purpose for name in BUILT}:
        assert f"  {EXAMPLES[purpose]}\n" in said
    assert len(sections) > 4


@pytest.mark.parametrize(("words", "command"), list(commands()))
def test_every_help_looks_alike(words, command):
    name = " ".join(words)
    for option in ("--help", "-h"):
        said = run(*words, option)
        assert said.exit_code == 0
    text = command.help
    assert text is not None
    first, _, rest = text.partition("\n")
    assert first == TREE[name].summary, "the table has the first sentence of the help"
    assert first.endswith(".")
    assert first[0].isupper()
    assert rest.lstrip().startswith("\b\n"), "an example stands behind the first sentence"
    examples = [line for line in said.output.splitlines() if line.startswith(f"  edgeslm {name} ")]
    assert examples or f"  edgeslm {name}\n" in said.output
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
            assert parameter.help.endswith((".", "?")), f"{name} {parameter.opts}"
            assert parameter.help[0].isupper(), f"{name} {parameter.opts}"
            shown = parameter.make_metavar(click.Context(command))
            assert shown not in {"PATH", "DIRECTORY", "FILENAME"}, "a FILE or a FOLDER"
            if parameter.is_flag and "--json" in parameter.opts:
                assert re.fullmatch(_JSON, parameter.help), name


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["extrct"], "did you mean `edgeslm extract`?"),
        (["rollback"], "did you mean `edgeslm model rollback`?"),
        (["rolback"], "did you mean `edgeslm model rollback`?"),
        (["model", "rolback"], "did you mean `edgeslm model rollback`?"),
        (["model", "pull"], "did you mean `edgeslm pull`?"),
        (["qqq"], "`edgeslm --help` lists them"),
        (["extract", "m", "--schma", "x"], "--schema"),
        (["extract", "m", "a", "--on-budget", "rasie"], "did you mean raise?"),
        (["build", "r.toml", "--until", "trian"], "did you mean train?"),
        (["bench", "m", "--task", "clasify"], "did you mean classify?"),
    ],
)
def test_near_misses_are_told_what_was_meant(words, meant):
    said = run(*words)
    assert said.exit_code == 2
    assert meant in said.output


def test_of_several_near_options_the_nearest_is_told(capsys):
    for wrong, meant in (("--lables", "--labels"), ("--trunkate", "--truncate")):
        with pytest.raises(SystemExit) as caught:
            main(["classify", "m", wrong, "x"])
        said = capsys.readouterr().err
        assert caught.value.code == 2
        assert re.findall("--[a-z-]+", said.partition("No such option")[2]) == [wrong, meant]


@pytest.mark.parametrize("command", ["extract", "classify", "tag"])
def test_top_says_what_it_shortens(command):
    said = " ".join(run(command, "--help").output.split())
    shortened = "values that the schema lists for a field" if command == "extract" else "labels"
    assert f"Only the K likeliest of the {shortened}." in said


def test_examples_name_what_the_command_does():
    assert "edgeslm model package " in run("model", "--help").output
    said = " ".join(run("bench", "--help").output.split())
    assert not re.search("so many|up to so", said)


@pytest.mark.parametrize("name", [name for name in TREE if TREE[name].place is None])
def test_a_reserved_name_says_that_it_is_of_a_later_version(name):
    said = run(*name.split())
    assert said.exit_code == 2
    assert "is not in this version of edgeslm" in said.output
    branch, _, last = f"edgeslm {name}".rpartition(" ")
    assert last not in run(*branch.split()[1:], "--help").output.split()


def test_a_build_has_the_steps_of_the_training_side():
    from converters.work import STEPS as THEIRS

    assert tuple(THEIRS) == STEPS
