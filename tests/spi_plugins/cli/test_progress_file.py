from stable_baselines3.common.logger import Figure, Logger

from spi_plugins.cli.progress_file import ProgressFile
from spi_plugins.cli.progress_rows import read_progress


def log(path, rows, keep_until=0):
    logger = Logger(None, [ProgressFile(path, keep_until=keep_until)])
    for step, values in rows:
        logger.record("time/total_timesteps", step)
        for key, value in values.items():
            logger.record(key, value)
        logger.dump(step)
    logger.close()


def test_rows_and_columns_are_those_of_the_log(tmp_path):
    log(tmp_path / "progress.csv", [(8, {"loss": 1.5}), (16, {"loss": 0.5})])
    assert (tmp_path / "progress.csv").read_text().splitlines() == [
        "time/total_timesteps,loss",
        "8,1.5",
        "16,0.5",
    ]


def test_a_new_key_becomes_a_column_and_older_rows_stay(tmp_path):
    log(tmp_path / "progress.csv", [(8, {}), (16, {"loss": 0.5}), (24, {})])
    assert read_progress(tmp_path / "progress.csv") == [
        {"time/total_timesteps": "8"},
        {"time/total_timesteps": "16", "loss": "0.5"},
        {"time/total_timesteps": "24"},
    ]


def test_a_resumed_run_appends_and_drops_what_it_will_write_again(tmp_path):
    path = tmp_path / "progress.csv"
    log(path, [(8, {"loss": 1.0}), (16, {"loss": 2.0}), (24, {"loss": 3.0})])
    log(path, [(24, {"loss": 4.0, "new": 1})], keep_until=16)
    assert read_progress(path) == [
        {"time/total_timesteps": "8", "loss": "1.0"},
        {"time/total_timesteps": "16", "loss": "2.0"},
        {"time/total_timesteps": "24", "loss": "4.0", "new": "1"},
    ]


def test_commas_and_quotes_survive(tmp_path):
    log(tmp_path / "progress.csv", [(8, {"note": 'a, "b"'})])
    assert read_progress(tmp_path / "progress.csv")[0]["note"] == 'a, "b"'


def test_what_is_no_number_or_text_is_left_out(tmp_path):
    log(tmp_path / "progress.csv", [(8, {"picture": Figure(None, close=False)})])
    assert read_progress(tmp_path / "progress.csv") == [{"time/total_timesteps": "8"}]


def test_no_file_has_no_rows(tmp_path):
    assert read_progress(tmp_path / "progress.csv") == []
