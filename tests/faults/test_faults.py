"""Some faults of each kind, at places spread over a run on toys; `python -m tests.faults` tries hundreds."""

import time
from collections.abc import Iterator

import h5py
import pytest
from ray_started import Started, started

from bench.scratch import remove_left
from faults.campaign import BEGIN, RESUME, Campaign, finished
from faults.child import Fault

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module", autouse=True)
def killed_driver() -> Iterator[Started]:
    """A driver that has started Ray, and was killed before the first test here: Ray's agents take a minute to end."""
    with started("k") as ray:
        ray.process.kill()
        ray.process.wait()
        yield ray


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """A campaign whose undisturbed run has been made."""
    return Campaign(tmp_path_factory.mktemp("faults"), seed=7)


def test_a_killed_run_comes_to_the_same_end(campaign: Campaign) -> None:
    assert [wrong for wrong in campaign.kills(2) if wrong] == []


def test_a_run_that_lost_power_comes_to_the_same_end(campaign: Campaign) -> None:
    assert [wrong for wrong in campaign.kills(1, power=True) if wrong] == []


def test_damaged_files_are_found_out(campaign: Campaign) -> None:
    assert [wrong for wrong in campaign.corruptions(1) if wrong] == []


def test_the_campaign_can_tell(campaign: Campaign) -> None:
    """What is lost, changed or said wrongly is told: a check that never fails checks nothing."""
    place = campaign.whole.copy("told")
    seconds = finished(place)
    assert len(seconds) == 3 and campaign.comes_to_its_end(place, seconds) == ""
    other = dict.fromkeys(seconds, ("1.5",))
    assert "trained again" in campaign.comes_to_its_end(place, other)
    model = place.run / "best_model.h5"
    with h5py.File(model, "r+") as held:
        held["model_weights/probabilities/probabilities/bias"][...] += 1
    assert campaign.difference(place) == "best_model.h5 has other weights"
    model.write_bytes((campaign.whole.run / "best_model.h5").read_bytes())
    table = place.run / "predictions_test.csv"
    text = table.read_text()
    table.write_text(text.replace("0.", "0.5", 1))
    assert "predictions_test.csv" in campaign.difference(place)
    table.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    assert "predictions_test.csv has 15 rows for 16" in campaign.difference(place)
    table.unlink()
    assert "cannot be read" in campaign.difference(place)
    killed = campaign.empty.copy("told").command(BEGIN, Fault(20))
    assert killed.status == -9
    refused = campaign.empty.copy("told").command(RESUME)
    assert refused.status not in (0, -9) and refused.said.startswith("error: ") and not refused.wrong


def test_what_a_killed_driver_left_goes_at_the_next_start(killed_driver: Started) -> None:
    until = time.monotonic() + 90
    while killed_driver.left() and time.monotonic() < until:
        time.sleep(1)
    assert not killed_driver.left(), "Ray's processes end with their driver"
    assert [*killed_driver.place.glob("ray-*")]
    assert remove_left(killed_driver.place)
    assert not [*killed_driver.place.glob("ray-*")]
