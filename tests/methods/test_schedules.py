import pytest

from memphis.methods.schedules import SCHEDULES, constant, cosine, linear


def test_by_hand():
    assert [cosine(k, 6, 0.3) for k in range(6)] == pytest.approx(
        [0, 0.5, 1, 0.8535533905932737, 0.5, 0.1464466094067262]
    )
    assert [linear(k, 6, 0.3) for k in range(6)] == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25])
    assert [constant(k, 6, 0.3) for k in range(6)] == [0, 0.5, 1, 1, 1, 1]


@pytest.mark.parametrize("schedule", SCHEDULES.values())
def test_shape(schedule):
    factors = [schedule(k, 50, 0.2) for k in range(50)]
    assert factors[0] == 0
    assert max(factors) == factors[10] == 1
    assert factors[-1] > 0
    assert factors[:11] == sorted(factors[:11])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert schedule(0, 1, 0.0) == 1  # a single step without warm-up is a full step
    assert schedule(80, 50, 0.2) in (0, 1)  # past the end it does not rise again


@pytest.mark.parametrize("schedule", SCHEDULES.values())
@pytest.mark.parametrize("arguments", [(-1, 10, 0.1), (0, 0, 0.1), (0, 10, -0.1), (0, 10, 1.1)])
def test_refuses(schedule, arguments):
    with pytest.raises(ValueError, match="no schedule"):
        schedule(*arguments)
