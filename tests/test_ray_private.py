"""Ray started here is nobody else's: it listens on loopback, its folder is private, and nothing of it stays.

What a killed driver leaves is looked at in `faults.test_faults`.
"""

import pytest
from ray_started import started


@pytest.mark.end_to_end
def test_ray_is_private_and_leaves_nothing() -> None:
    with started("b") as ray:
        assert ray.listening
        addresses = {
            address.removeprefix("::ffff:") for _, address in ray.listening
        }  # IPv4, as an IPv6 socket shows it
        assert addresses <= {"127.0.0.1", "::1"}, ray.listening
        (folder,) = ray.place.glob("ray-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        ray.process.communicate("\n", timeout=60)
        assert not [*ray.place.glob("ray-*")]
