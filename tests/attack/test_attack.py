"""Attacks with smaller amounts; `make attack` runs them in full and measures the waits."""

import pytest

from tests.attack.attacks import ATTACKS, Attack
from tests.attack.run import MAX_MEMORY_BYTES, run
from tests.support.server import Service

ATTACK = [pytest.param(each, marks=pytest.mark.exhaustive if each.waits else ()) for each in ATTACKS]


@pytest.mark.parametrize("attack", ATTACK, ids=lambda attack: attack.name)
def test_an_attack_is_harmless(service: Service, attack: Attack) -> None:
    """An attack gets its expected answers; a second client is served meanwhile, and memory is bounded."""
    before = len(service.log.read_text())
    (outcome,) = run(service, [attack], share=0.05)
    assert outcome.is_answered, outcome
    assert outcome.memory_bytes < MAX_MEMORY_BYTES
    assert "Traceback" not in service.log.read_text()[before:]
