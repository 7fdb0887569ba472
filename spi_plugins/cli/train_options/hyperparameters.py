"""What the algorithm is told: a flag for each declared hyperparameter, and ``-p`` for any."""

import argparse
import types
from collections.abc import Mapping
from typing import Any, get_args

from spi_plugins import plugins
from spi_plugins.checks import bounds
from spi_plugins.cli.arguments import Arguments, CommandError, add_pairs, parse_pairs, positive
from spi_plugins.cli.declarations import read_all, read_declarations, read_groups
from spi_plugins.hyperparameters import Hyperparameter
from spi_plugins.literals import read_value

POLICIES = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")
# Arguments that have an option: "-p seed=1" would contradict "--seed".
_OPTION_OF = {
    "policy": "--policy",
    "env": "--env",
    "n_envs": "--n-envs",
    "seed": "--seed",
    "device": "--device",
    "verbose": "-v",
    "tensorboard_log": "-tb",
}
_TYPES: Mapping[Any, str] = {int: "INT", float: "FLOAT", str: "NAME"}


def add(parser: argparse.ArgumentParser, algorithm: str | None = None) -> None:
    """Add the flags of one algorithm with their help; or those of all, hidden, for ``check`` to say which fit."""
    target = None if algorithm is None else plugins.registry("algorithms").get(algorithm).target
    known = target is not None and read_declarations(target) is not None
    hint = (
        "" if known else "'spi train ALGO --help' lists the flags of an algorithm, such as --learning-rate."
    )
    group = parser.add_argument_group("hyperparameters", hint)
    group.add_argument("--policy", metavar="P", help="policy (default: chosen by the observation space)")
    group.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N or all (default: auto)")
    group.add_argument(
        "--devices",
        dest="device",
        type=number_of_devices,
        metavar="N",
        help="divide the copies and minibatches among N devices, or 'all'",
    )
    add_pairs(
        group, "-p", "--hyperparameters", help="arguments of the algorithm, Python literals; also as flags"
    )
    add_pairs(group, "-params", "--hyperparams", dest="hyperparameters", help=argparse.SUPPRESS)  # rl_zoo3's
    if not known:
        parser.set_defaults(flags={})
        for each in read_all().values():
            if each.name not in _OPTION_OF:
                _add_flag(group, each, hidden=True)
        return
    for title, declarations in read_groups(str(target)).items():
        group = parser.add_argument_group(f"{algorithm}: {title}")
        for each in declarations:
            if each.name not in _OPTION_OF:
                _add_flag(group, each)


def read(args: argparse.Namespace) -> dict[str, Any]:
    """The values that ``-p`` and the flags name.

    Raises:
        CommandError: both name one.
    """
    values = parse_pairs("-p", args.hyperparameters)
    for name, value in args.flags.items():
        if name in values:
            raise CommandError(
                f"-p {name}=... and --{name.replace('_', '-')} are the same; give one of them."
            )
        values[name] = value
    return values


def check(algorithm: str, policy: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as an algorithm takes them, with ``1e3`` for the integer 1000; those of other packages unchanged.

    Raises:
        SPIError: there is no such algorithm or policy, or a built-in algorithm does not take one of the values.
    """
    target = plugins.registry("algorithms").get(algorithm).target
    for name in values.keys() & _OPTION_OF.keys() - {"device"}:
        raise CommandError(f"-p {name}=... is set with {_OPTION_OF[name]}.")
    known = read_declarations(target)
    if known is None:
        return dict(values)
    if policy is not None and policy not in POLICIES:
        hint = plugins.did_you_mean(policy, POLICIES)
        raise CommandError(f"--policy {policy!r} is unknown.{hint} Allowed: {', '.join(POLICIES)}.")
    refusal = f"{str(target).rpartition(':')[2]} refuses its arguments"
    checked = {}
    for name, value in values.items():
        if name not in known:
            hint = plugins.did_you_mean(name, known)
            raise CommandError(f"{refusal}: there is no argument {name!r}.{hint}")
        checked[name] = _whole(known[name], value)
        try:
            known[name].check(checked[name])
        except ValueError as error:
            raise CommandError(f"{refusal}: {error}") from error
    return checked


def number_of_devices(text: str) -> str:
    """A number of at least 1, or all."""
    return text if text == "all" else str(positive(text))


def check_devices(args: argparse.Namespace) -> None:
    """Refuse copies that the devices cannot share, as far as both numbers are known.

    Raises:
        CommandError: names both.
    """
    number = int(args.device) if str(args.device).isdecimal() else 1
    if args.n_envs is not None and number > 0 and args.n_envs % number:
        raise CommandError(
            f"--n-envs {args.n_envs} cannot be divided evenly among {number} devices: take a multiple of {number}."
        )


class _Store(argparse.Action):
    """Collects flags by the names of their hyperparameters in ``args.flags``."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        """Store a value, or for a switch whether it was given without ``no``."""
        value = not str(option).startswith("--no-") if self.nargs == 0 else read_value(values)
        namespace.flags = {**namespace.flags, self.dest: value}


def _add_flag(group: Arguments, each: Hyperparameter, *, hidden: bool = False) -> None:
    stems = [each.name.replace("_", "-")]
    if hidden and each.name not in stems:
        stems.append(each.name)  # as in Python
    switch = [kind for kind in each.alternatives if kind is not types.NoneType] == [bool]
    form: dict[str, Any] = {"nargs": 0} if switch else {"metavar": _form(each)}
    group.add_argument(
        *(f"--{no}{stem}" for stem in stems for no in (("", "no-") if switch else ("",))),
        action=_Store,
        dest=each.name,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS if hidden else _help(each),
        **form,
    )


def _form(each: Hyperparameter) -> str:
    """What a value looks like."""
    if each.choices:
        return f"{{{','.join(str(choice) for choice in each.choices if choice is not None)}}}"
    if each.is_schedule:
        return "FLOAT|lin_FLOAT"
    if each.is_mapping:
        return "DICT"
    names = [_TYPES[kind] for kind in each.alternatives if kind in _TYPES]
    return names[0] if names else "LIST" if any(get_args(kind) for kind in each.alternatives) else "VALUE"


def _help(each: Hyperparameter) -> str:
    low, high, open_low, open_high, also = each.range
    allowed = bounds(low, high, open_low=open_low, open_high=open_high)
    if allowed and also:
        allowed += f", or {' or '.join(map(str, also))}"
    default = "" if each.default is None else f"default: {each.default}"
    if each.by_policy is not None:
        mlp, cnn = each.by_policy.texts
        default = f"default: {mlp}" if mlp == cnn else f"default: {mlp}; with CnnPolicy: {cnn}"
    notes = "; ".join(filter(None, (allowed, default)))
    text = f"{each.help} [{notes}]" if notes else each.help
    return text.replace("`", "").replace("%", "%%")


def _whole(each: Hyperparameter, value: Any) -> Any:
    """``1e3`` as 1000 where integers are asked for."""
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole and int in each.alternatives and float not in each.alternatives else value
