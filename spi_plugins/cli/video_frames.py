"""Draws the frames of a video: reality to the left, a dream to the right, labels above and below."""

import pathlib
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from spi_plugins.cli.recording import Moment, Recording, newest_frame

_HEIGHT = 320  # pixels of a picture
_GAP, _LINE = 16, 22
_TITLE, _TEXT, _NOTE = (30, 30, 30), (60, 60, 60), (130, 130, 130)
_PAPER, _FRAME = (250, 250, 250), (190, 190, 190)
_FONT, _BOLD = ImageFont.load_default(15), ImageFont.load_default(20)


class _Panel(NamedTuple):
    title: str
    note: str
    picture: Image.Image
    lines: list[str]


def draw(recording: Recording) -> Iterator[NDArray[np.uint8]]:
    """All frames, uint8 ``[height, width, 3]`` with even sides."""
    pictures = _DreamPictures(recording)
    longest = len({moment.episode for moment in recording.moments})
    for moment in recording.moments:
        title = "Reality" if recording.stored is not None else "Episode"
        if longest > 1:
            title += f", episode {moment.episode + 1}"
        note = "" if recording.rendered else "what the policy observes"
        panels = [_Panel(title, note, _scaled(moment.picture), _real_lines(moment))]
        if moment.dreamt is not None:
            panels.append(
                _Panel("Dream", pictures.note, _scaled(pictures.of(moment)), _dream_lines(moment, recording))
            )
        yield _composed(panels)


class _DreamPictures:
    """What a dreamt latent looks like: decoded, or the real moment of this video whose latent is nearest."""

    def __init__(self, recording: Recording):
        self.moments = recording.moments
        stored = recording.stored
        if stored is None:
            return
        first = recording.moments[0].dreamt
        assert first is not None
        self.decodes = first.decoded is not None and first.decoded.ndim == 3
        if self.decodes:
            self.note = "decoded from the latent"
        else:
            self.note = f"nearest of {len(self.moments)} real frames"
            self.latents = np.stack([m.dreamt.real_z.ravel() for m in self.moments if m.dreamt is not None])
            # Every dimension counts the same, however large its numbers are.
            self.scale = np.maximum(self.latents.std(axis=0), 1e-6)

    def of(self, moment: Moment) -> NDArray[np.uint8]:
        """The picture of a moment's dream."""
        dreamt = moment.dreamt
        assert dreamt is not None
        if self.decodes and dreamt.decoded is not None:
            return newest_frame(dreamt.decoded)
        distances = np.square((self.latents - dreamt.z.ravel()) / self.scale).sum(axis=1)
        return self.moments[int(distances.argmin())].picture


def _real_lines(moment: Moment) -> list[str]:
    if moment.reward is None:
        return ["step 0", ""]
    facts = [f"step {moment.step}", f"reward {moment.reward:.2f}"]
    if moment.cost is not None:
        facts.append(f"cost {moment.cost:.2g}")
    return ["   ".join(facts), f"return {moment.total:.2f}"]


def _dream_lines(moment: Moment, recording: Recording) -> list[str]:
    dreamt = moment.dreamt
    assert dreamt is not None
    if dreamt.reward is None:
        return ["begins in the real state", ""]
    facts = [f"predicted reward {dreamt.reward:.2f}"]
    if dreamt.cost is not None:
        facts.append(f"cost {dreamt.cost:.2f}")
    if dreamt.termination is not None:
        facts.append(f"end {dreamt.termination:.0%}")
    return ["   ".join(facts), f"{dreamt.step} step{'s' if dreamt.step > 1 else ''} from the real state"]


def _scaled(picture: NDArray[np.uint8]) -> Image.Image:
    """At the panels' height; small images keep their pixels."""
    image = Image.fromarray(picture)
    size = (max(round(image.width * _HEIGHT / image.height), 1), _HEIGHT)
    grows = image.height * 2 <= _HEIGHT
    return image.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)


def _composed(panels: list[_Panel]) -> NDArray[np.uint8]:
    width = max(max(panel.picture.width for panel in panels), 240)
    canvas = Image.new(
        "RGB", (_GAP + len(panels) * (width + _GAP), _HEIGHT + 2 * _GAP + 28 + 2 * _LINE), _PAPER
    )
    pen = ImageDraw.Draw(canvas)
    for i, panel in enumerate(panels):
        left, top = _GAP + i * (width + _GAP), _GAP
        pen.text((left, top), panel.title, _TITLE, _BOLD)
        note = left + pen.textlength(panel.title, _BOLD) + 10
        pen.text((note, top + 4), panel.note, _NOTE, _FONT)
        corner = left + (width - panel.picture.width) // 2, top + 28
        canvas.paste(panel.picture, corner)
        opposite = corner[0] + panel.picture.width, corner[1] + panel.picture.height
        pen.rectangle((corner[0] - 1, corner[1] - 1, *opposite), outline=_FRAME)
        for row, line in enumerate(panel.lines):
            pen.text((left, top + 28 + _HEIGHT + 6 + row * _LINE), line, _TEXT, _FONT)
    frame = np.asarray(canvas)
    return frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]


def write_video(path: pathlib.Path, frames: Iterable[NDArray[np.uint8]], fps: int) -> None:
    """Write an MP4 or a GIF, by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".gif":
        _write_gif(path, frames, fps)
        return
    import imageio.v2 as imageio

    with warnings.catch_warnings():
        # The encoder is started at once after the fork, which is what JAX's warning asks for.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
        with imageio.get_writer(path, fps=fps, macro_block_size=2) as opened:
            writer: Any = opened
            for frame in frames:
                writer.append_data(frame)


def _write_gif(path: pathlib.Path, frames: Iterable[NDArray[np.uint8]], fps: int) -> None:
    # The fast quantizer, without dither: plain areas stay plain, and compress well.
    method, dither = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    first, *rest = (Image.fromarray(frame).quantize(256, method, dither=dither) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=1000 / fps, loop=0)
