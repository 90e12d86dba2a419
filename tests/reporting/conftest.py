import pytest
from matplotlib.figure import Figure


@pytest.fixture
def texts(monkeypatch):
    """Every string on the figures saved during the test."""
    found = []
    save = Figure.savefig

    def remember(figure, *arguments, **options):
        save(figure, *arguments, **options)
        found.extend(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))

    monkeypatch.setattr(Figure, "savefig", remember)
    return found
