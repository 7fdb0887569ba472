"""``spi hub``: runs to and from the Hugging Face Hub."""

import argparse
import contextlib
import dataclasses
import pathlib
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator

from spi_plugins.cli.arguments import CommandError, RunError
from spi_plugins.cli.model_card import VIDEO, model_card
from spi_plugins.cli.requests import check_writable, require_package
from spi_plugins.cli.run_folder import RunFolder, locate_model, statistics_of
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe

# What of a run is shared: no checkpoints, no replay buffers, and nothing that Python would import.
_FILES = (
    "model.zip",
    "vecnormalize.pkl",
    "best_model.zip",
    "best_model_vecnormalize.pkl",
    "best_model.json",
    "config.json",
    "evaluation.json",
    "evaluations.npz",
    "progress.csv",
    "learning_curve.png",
    "command.txt",
    "system_info.txt",
)


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the subcommands of ``spi hub``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=type(parser))
    push = actions.add_parser("push", help="upload a run with a model card")
    push.add_argument("folder", metavar="RUN", type=pathlib.Path, help="a run's folder")
    push.add_argument("repo", metavar="OWNER/NAME", help="the repository, which is made if it does not exist")
    push.add_argument("--private", action="store_true", help="make a new repository private")
    push.add_argument("--message", metavar="TEXT", help="of the commit (default: names the run)")
    push.add_argument(
        "--dry-run",
        type=pathlib.Path,
        metavar="DIR",
        help="write what would be uploaded to a new folder instead",
    )
    push.set_defaults(action=_push)
    pull = actions.add_parser("pull", help="download a run")
    pull.add_argument("repo", metavar="OWNER/NAME", help="the repository")
    pull.add_argument(
        *("-o", "--output"),
        type=pathlib.Path,
        metavar="DIR",
        help="a new folder (default: runs/hub/OWNER/NAME)",
    )
    pull.add_argument("--revision", metavar="REV", help="a branch, tag or commit (default: main)")
    pull.set_defaults(action=_pull)
    return run


def run(args: argparse.Namespace) -> int:
    """Run the chosen action.

    Raises:
        SPIError: an argument is wrong, or the Hub cannot be reached or refuses.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", args.repo):
        raise CommandError(f"OWNER/NAME must be such as my-name/ppo-CartPole-v1, got {args.repo!r}.")
    return int(args.action(args))


def _push(args: argparse.Namespace) -> int:
    folder = args.folder
    if not folder.is_dir():
        raise CommandError(f"RUN must be a run's folder, got {folder}.")
    locate_model(folder)
    if args.dry_run is not None:
        _check_new("--dry-run", args.dry_run)
        args.dry_run.mkdir(parents=True)
        files = _write_folder(RunFolder(folder), args.repo, args.dry_run)
        sys.stdout.write(f"Wrote {args.dry_run}, which would become {args.repo}: {', '.join(files)}.\n")
        return 0
    require_package("huggingface_hub", "Uploads", "hub")
    with tempfile.TemporaryDirectory() as ready:
        _write_folder(RunFolder(folder), args.repo, pathlib.Path(ready))
        import huggingface_hub

        api = huggingface_hub.HfApi()
        with _reported(args.repo, "--dry-run DIR writes what would be uploaded."):
            url = api.create_repo(args.repo, private=args.private or None, exist_ok=True)
            message = args.message or f"Add {folder.resolve().name} with spi hub push"
            api.upload_folder(repo_id=args.repo, folder_path=ready, commit_message=message)
    sys.stdout.write(f"{folder} is at {url}; others get it with 'spi hub pull {args.repo}'.\n")
    return 0


def _write_folder(run: RunFolder, repo: str, target: pathlib.Path) -> list[str]:
    """Write what is shared of a run; returns the names of the files."""
    config = run.read_config()
    for name in _FILES:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, target / name)
    newest, _ = locate_model(run.path)
    shutil.copyfile(newest, target / "model.zip")  # a checkpoint, if the run was killed
    statistics = statistics_of(newest)
    if statistics.is_file():
        shutil.copyfile(statistics, target / "vecnormalize.pkl")
    video = run.path / "video.mp4"
    if not video.is_file():
        video = run.path / VIDEO  # of a run that was pulled
    if video.is_file():
        shutil.copyfile(video, target / VIDEO)
    # Paths of this machine are of no use to others.
    RunFolder(target).write_config(dataclasses.replace(config, tensorboard_log=None, resumed_from=None))
    card = model_card(run, config, repo, video=video.is_file())
    (target / "README.md").write_text(card, "utf-8")
    return sorted(path.name for path in target.iterdir())


def _pull(args: argparse.Namespace) -> int:
    target = args.output or pathlib.Path("runs", "hub", *args.repo.split("/"))
    _check_new("-o", target)
    require_package("huggingface_hub", "Downloads", "hub")
    import huggingface_hub

    api = huggingface_hub.HfApi()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pull-") as got:
        with _reported(args.repo):
            api.snapshot_download(
                args.repo,
                revision=args.revision,
                local_dir=got,
                allow_patterns=[*_FILES, VIDEO, "README.md"],
            )
        config = _check_pulled(RunFolder(pathlib.Path(got)), args.repo)
        target.mkdir()
        for name in (*_FILES, VIDEO, "README.md"):
            if (pathlib.Path(got) / name).is_file():
                shutil.move(pathlib.Path(got) / name, target / name)
    sys.stdout.write(f"Wrote {target}, {config}.\nPlay it: spi eval {target}\n")
    return 0


def _check_pulled(run: RunFolder, repo: str) -> str:
    """Refuse what is not a run; says whose it is."""
    if not (run.config.is_file() and run.model.is_file()):
        raise CommandError(
            f"{repo} is not a run that 'spi hub push' has uploaded: it has no config.json and model.zip."
        )
    config = run.read_config()
    return f"a run of {config.algorithm} on {config.env}"


def _check_new(option: str, folder: pathlib.Path) -> None:
    if folder.exists():
        raise CommandError(f"{option} {folder} exists already; name a new folder.")
    check_writable(option, folder.parent)


@contextlib.contextmanager
def _reported(repo: str, hint: str = "") -> Iterator[None]:
    """Turn the errors of the Hub and of the network into one line."""
    from huggingface_hub import errors

    try:
        yield
    except (SPIError, KeyboardInterrupt):
        raise
    except errors.RepositoryNotFoundError as error:
        raise CommandError(
            f"The Hub shows no repository {repo}: it does not exist, or you must log in first with 'hf auth login'."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CommandError(f"--revision: {repo} has no such branch, tag or commit.") from error
    except errors.LocalTokenNotFoundError as error:
        raise CommandError("Uploads need a token: log in with 'hf auth login', or set HF_TOKEN.") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise CommandError(
                f"The Hub does not let you use {repo} ({status}): log in with 'hf auth login', or set HF_TOKEN."
            ) from error
        raise RunError(f"The Hub failed: {describe(error)}") from error
    except Exception as error:  # the network's errors are of several packages
        raise RunError(
            f"The Hub cannot be reached: {describe(error).rstrip('.')}. {hint}".rstrip()
        ) from error
