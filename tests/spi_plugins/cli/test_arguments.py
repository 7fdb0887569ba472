import pytest

from spi_plugins.cli.arguments import CommandError, parse_pairs, positive, whole


def test_values_are_python_literals_or_else_strings():
    pairs = ["a=1", "b=1e-3", "c=[64, 64]", "d=None", "e=True", "f={'x': 1}", "g=word", "h=", "i=a=b"]
    assert parse_pairs("-p", pairs) == {
        "a": 1,
        "b": 1e-3,
        "c": [64, 64],
        "d": None,
        "e": True,
        "f": {"x": 1},
        "g": "word",
        "h": "",
        "i": "a=b",
    }


def test_a_value_is_never_executed():
    assert parse_pairs("-p", ["a=__import__('os').getcwd()"]) == {"a": "__import__('os').getcwd()"}


@pytest.mark.parametrize("pair", ["word", "=1", "two words=1", "a-b=1"])
def test_what_is_no_pair_is_refused(pair):
    with pytest.raises(CommandError, match="-p takes key=value pairs"):
        parse_pairs("-p", [pair])


def test_a_key_may_come_once():
    with pytest.raises(CommandError, match="'a' twice"):
        parse_pairs("-p", ["a=1", "a=2"])


@pytest.mark.parametrize(
    ("text", "value"), [("10", 10), ("1e6", 1_000_000), ("1_000", 1000), ("2.5e3", 2500)]
)
def test_numbers_may_be_written_short(text, value):
    assert positive(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "inf", "nan", "many"])
def test_what_is_no_positive_integer_is_refused(text):
    with pytest.raises((ValueError, OverflowError)):
        positive(text)


def test_zero_is_whole():
    assert whole("0") == 0
