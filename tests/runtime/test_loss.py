"""A loss has one conversion between nats, bits and perplexity."""

import math

import pytest

from charrnn_runtime.core.loss import Loss


def test_one_bit_a_character_is_a_choice_between_two() -> None:
    loss = Loss(math.log(2), 0.1)
    assert (loss.nats, loss.bits, loss.perplexity) == (math.log(2), 1.0, 2.0)
    assert loss.bits_error == " ± 0.144"
    assert loss.nats_error() == " ± 0.100"


def test_the_perplexity_of_a_hopeless_model_is_finite() -> None:
    assert math.isfinite(Loss(1e9).to_json()["perplexity"])


@pytest.mark.parametrize("loss", [Loss(1.25, 0.5), Loss(1.25)])
def test_a_loss_is_read_as_it_was_written(loss: Loss) -> None:
    assert Loss.from_json(loss.to_json()) == loss


@pytest.mark.parametrize(
    ("value", "error"),
    [({}, KeyError), ({"nats": "2"}, TypeError), ({"nats": 1.0, "standard_error": math.inf}, ValueError)],
)
def test_a_damaged_loss_is_refused(value: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        Loss.from_json(value)
