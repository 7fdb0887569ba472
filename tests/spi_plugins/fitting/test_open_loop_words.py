import pytest

from spi_plugins.fitting.open_loop import in_words


@pytest.mark.parametrize(
    ("error", "share", "words"),
    [
        ([0.1, 0.3, 0.5], [1.0, 0.9, 0.8], "better than that nothing changes up to 2 steps ahead (latent error 0.1"),
        ([0.1, 0.3, 0.3], [1.0, 0.0, 0.0], "better than that nothing changes up to 1 step ahead"),
        ([0.5, 0.1, 0.1], [1.0, 0.9, 0.8], "no better than that nothing changes (0.5 against 0.4 after 1 step)"),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], "No episode was long enough"),
    ],
)  # fmt: skip
def test_errors_in_words(error, share, words):
    assert words in in_words({"latent_error": error, "latent_change": [0.4, 0.4, 0.4], "share": share})
