from PIL import Image

from spi_plugins.cli import demo

TINY = {
    "--n-envs": "4",
    "--n-timesteps": "16",
    "--n-steps": "4",
    "--batch-size": "8",
    "--n-epochs": "1",
    "--policy-kwargs": '{"conv_layers": [[2, 6, 6]], "net_arch": [4]}',
    "--eval-episodes": "2",
    "--save-freq": "0",
}


def test_the_demo_says_what_it_learned_and_what_to_type_next(spi, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SETTINGS", TINY)
    monkeypatch.setattr(demo, "FILM", ("--max-steps", "9"))
    monkeypatch.setattr(demo, "RANDOM_STEPS", 6400)
    done = spi("demo")
    assert done.code == 0, done.err
    run = tmp_path / "runs/deep_spi/spi-PixelGoal-v0_1"
    assert "Random play has a mean return of 0." in done.out
    assert f"spi eval {run.relative_to(tmp_path)} --n-episodes 200" in done.out
    assert "envpool:Breakout-v5" in done.out
    assert (run / "evaluation.json").is_file()
    with Image.open(run / "video.gif") as video:
        assert 1 < video.n_frames <= 9
    filmed = spi("video", run, "--max-steps", 4, "--fps", 7)
    assert "4 frames of 1 episode, " in filmed.out
    assert (run / "video.mp4").read_bytes()[4:8] == b"ftyp"
