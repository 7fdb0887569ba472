import pytest
from sb3_contract import ALGORITHMS, build


@pytest.fixture(params=ALGORITHMS)
def name(request):
    return request.param


@pytest.fixture(scope="session")
def trained():
    """One trained model of each algorithm, for tests that do not change it."""
    models = {name: build(name).learn(32) for name in ALGORITHMS}
    return models.__getitem__
