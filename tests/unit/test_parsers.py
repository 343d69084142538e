"""No octets make a parser raise what is not ours or break its law: a kept corpus, mutated, and noise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsers import CORPUS, PARSERS, keep, kept


def test_every_parser_has_a_corpus_and_every_corpus_a_parser() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(PARSERS)
    for name in PARSERS:
        assert len(kept(name)) >= 8


@pytest.mark.parametrize("name", PARSERS)
def test_what_was_once_of_interest_still_holds(name: str) -> None:
    for octets in kept(name):
        PARSERS[name](octets)


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_whatever_the_octets_the_law_holds(name: str, data: st.DataObject) -> None:
    """An input that breaks it is kept, so that from then on every run tries it: commit the file."""
    seeds = kept(name)
    pieces = st.binary(max_size=4) | st.sampled_from(
        sorted({seed[at : at + 5] for seed in seeds for at in range(0, min(len(seed), 400), 3)})
    )
    octets = data.draw(st.sampled_from(seeds) | st.binary(max_size=200))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(octets)))
        gone = data.draw(st.integers(0, 6))
        octets = octets[:at] + data.draw(pieces) + octets[at + gone :]
    try:
        PARSERS[name](octets)
    except Exception:
        keep(name, octets)
        raise
