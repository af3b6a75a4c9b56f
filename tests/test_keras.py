"""Keras, the package itself, trains from pipelines."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.keras import PipelineDataset  # before Keras, whose backend it chooses

keras = pytest.importorskip("keras")

RECORDS, SIZE = 22, 4
DATA = {
    "x": np.arange(RECORDS, dtype=np.float32)[:, None],
    "y": np.arange(RECORDS) % 2,
    "weight": np.linspace(0, 1, RECORDS, dtype=np.float32),
}


def pipeline(**options: Any) -> Pipeline:
    return Pipeline(**{"source": DATA, "batch_size": SIZE, **options})


class Notes(keras.layers.Layer):
    """Passes its input on, and notes which records it was; not what Keras only looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[list[int]] = []
        self.checked: list[list[int]] = []

    def call(self, x: Any, training: bool = False) -> Any:
        if isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer):
            (self.trained if training else self.checked).append(np.asarray(x).ravel().astype(int).tolist())
        return x


def model() -> tuple[Any, Notes]:
    notes = Notes()
    made = keras.Sequential([notes, keras.layers.Dense(2, activation="softmax")])
    made.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], run_eagerly=True)
    return made, notes


def epochs(count: int, **options: Any) -> list[list[int]]:
    """What a pipeline gives by itself."""
    batches = pipeline(**options)
    return [batch["x"].ravel().astype(int).tolist() for _ in range(count) for batch in batches]


def data(**options: Any) -> PipelineDataset:
    return PipelineDataset(pipeline(**options), "x", "y")


SHUFFLED: dict[str, Any] = {"shuffle": True, "seed": 3}


@pytest.mark.parametrize("options", [{}, {"num_workers": 2, "output": "numpy"}])
def test_an_epoch_of_keras_is_an_epoch_of_the_pipeline_whatever_keras_shuffles(options: dict[str, Any]) -> None:
    trained, notes = model()
    with pipeline(**SHUFFLED, **options) as batches:
        trained.fit(PipelineDataset(batches, "x", "y"), epochs=3, verbose=0)
    assert notes.trained == epochs(3, **SHUFFLED)


def test_a_second_fit_goes_on_with_the_next_epoch() -> None:
    batches = data(**SHUFFLED)
    trained, notes = model()
    for _ in range(2):
        trained.fit(batches, verbose=0)
    assert notes.trained == epochs(2, **SHUFFLED)


def test_evaluation_goes_through_all_of_it_every_time() -> None:
    trained, notes = model()
    history = trained.fit(data(), epochs=3, validation_data=data(), verbose=0).history
    assert len(history["val_loss"]) == 3
    assert notes.checked == epochs(3)


def test_evaluation_of_some_steps_begins_anew_every_time() -> None:
    trained, notes = model()
    trained.fit(data(), epochs=3, validation_data=data(**SHUFFLED), validation_steps=2, verbose=0)
    assert notes.checked == epochs(1, **SHUFFLED)[:2] * 3


@pytest.mark.parametrize("steps", [1, 4])
def test_a_stream_without_end_goes_on_from_epoch_to_epoch(steps: int) -> None:
    trained, notes = model()
    trained.fit(data(num_epochs=None, **SHUFFLED), epochs=4, steps_per_epoch=steps, shuffle=False, verbose=0)
    assert notes.trained == epochs(4, **SHUFFLED)[: 4 * steps]


def test_steps_of_a_part_of_an_epoch_go_on_in_it() -> None:
    trained, notes = model()
    trained.fit(data(**SHUFFLED), epochs=4, steps_per_epoch=3, verbose=0)
    assert notes.trained == epochs(2, **SHUFFLED)


def test_an_epoch_that_was_left_is_begun_again() -> None:
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 2

    batches = data(**SHUFFLED)
    trained, notes = model()
    trained.fit(batches, callbacks=[Stop()], verbose=0)
    trained.fit(batches, epochs=2, verbose=0)
    expected = epochs(2, **SHUFFLED)
    assert notes.trained == expected[:3] + expected


def test_predictions_are_those_of_the_rows_in_order() -> None:
    trained, _ = model()
    trained.fit(data(), verbose=0)
    found = trained.predict(PipelineDataset(pipeline(num_workers=1), "x"), verbose=0)
    np.testing.assert_allclose(found, trained.predict(DATA["x"], verbose=0), rtol=1e-5)


def test_classes_weigh_what_fit_is_told() -> None:
    def loss(weights: dict[int, float] | None) -> float:
        keras.utils.set_random_seed(0)
        return model()[0].fit(data(), class_weight=weights, verbose=0).history["loss"][0]

    assert loss({0: 0.0, 1: 0.0}) == 0
    assert loss({0: 1.0, 1: 1.0}) == pytest.approx(loss(None))


def test_rows_weigh_what_their_field_says_and_padding_nothing() -> None:
    trained, _ = model()
    for options in ({}, {"pad_last": True}):
        weighted = PipelineDataset(pipeline(**options), "x", "y", "weight")
        trained.fit(weighted, verbose=0)
        *_, (inputs, _, weights) = weighted
        assert weights[:2].tolist() == DATA["weight"][20:].tolist()
        assert weights[2:].tolist() == [0] * (len(inputs) - 2)
    whole = trained.evaluate(DATA["x"], DATA["y"], verbose=0, return_dict=True)
    padded = trained.evaluate(data(pad_last=True), verbose=0, return_dict=True)
    assert padded["accuracy"] == pytest.approx(whole["accuracy"])
    assert padded["loss"] * 24 == pytest.approx(whole["loss"] * RECORDS)  # Keras divides by all rows, padding or not


def test_a_model_may_have_several_inputs_and_outputs() -> None:
    one, two = (keras.layers.Input((1,), name=name) for name in ("one", "two"))
    outputs = [keras.layers.Dense(1, name=name)(keras.layers.Add()([one, two])) for name in ("left", "right")]
    for inputs, targets in ((["x", "x"], ["x", "weight"]), ({"two": "x", "one": "x"}, {"left": "x", "right": "x"})):
        named = isinstance(targets, dict)
        made = keras.Model([one, two], {"left": outputs[0], "right": outputs[1]} if named else outputs)
        made.compile(loss={"left": "mse", "right": "mse"} if named else ["mse", "mse"], run_eagerly=True)
        made.fit(PipelineDataset(pipeline(), inputs, targets), verbose=0)


def test_the_state_of_a_pipeline_says_what_keras_has_trained_on() -> None:
    batches = pipeline(**SHUFFLED)
    model()[0].fit(PipelineDataset(batches, "x", "y"), epochs=2, verbose=0)
    again = pipeline(**SHUFFLED)
    again.set_state(batches.get_state())
    trained, notes = model()
    trained.fit(PipelineDataset(again, "x", "y"), verbose=0)
    assert notes.trained == epochs(3, **SHUFFLED)[12:]


def test_from_a_state_within_an_epoch_keras_goes_on_there() -> None:
    batches = pipeline(**SHUFFLED)
    for _, _ in zip(range(4), batches, strict=False):
        pass
    again = pipeline(**SHUFFLED)
    again.set_state(batches.get_state())
    trained, notes = model()
    trained.fit(PipelineDataset(again, "x", "y"), epochs=2, verbose=0)  # epochs of six, as many as without the state
    assert notes.trained == epochs(3, **SHUFFLED)[4:16]


@pytest.mark.parametrize(
    ("options", "names", "error", "message"),
    [
        ({"enforce_batch": False}, ("x",), TypeError, "a pipeline with enforce_batch=False makes none"),
        ({}, (3,), TypeError, "inputs must be a field's name, a list of names or a dict of them, got 3"),
        ({}, ("x", []), TypeError, "targets must be a field's name"),
        ({}, ("x", None, "weight"), ValueError, "weights='weight' says how much targets count"),
    ],
)
def test_what_cannot_be_is_said_at_once(
    options: dict[str, Any], names: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PipelineDataset(pipeline(**options), *names)


def test_an_epoch_without_a_batch_is_an_error_that_says_why() -> None:
    with pytest.raises(ValueError, match="no batch in an epoch: it has fewer records than batch_size"):
        model()[0].fit(data(batch_size=100, drop_last=True), verbose=0)


def test_a_field_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="no field 'image'; this batch has"):
        model()[0].fit(PipelineDataset(pipeline(), "image", "y"), verbose=0)
