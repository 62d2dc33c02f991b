import json

from pydantic import TypeAdapter

from napari_resunet.engine.checkpoint import TrainerState
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.optim import make_optimizer

OLD_STATE = (
    '{"model_id": "5712225049aa", "corrections": "0f", "config": {"steps": null, '
    '"seconds": 90.0, "batch": 4, "patch": 128, "lr": 0.002, "encoder_share": 1.0, '
    '"edited_weight": 3.0, "edited_fraction": 0.5, "intensity": 0.2, "zoom": 0.8, '
    '"n_evaluations": 12, "patience": 10, "seed": 7}, "decoding": {"foreground": 0.4, '
    '"split": 0.5}, "steps": 30, "share": 0.25, "spent": 22.5, "n_evaluations": 3, '
    '"without_gain": 1, "peak": 0.7, "best": {"value": 0.6, "loss": 1.5}, "rng": {}}'
)
"""As the version wrote it that had a learning rate of its own for the encoder."""


def test_a_checkpoint_of_an_older_version_can_be_resumed():
    adapter = TypeAdapter(TrainerState)
    state = adapter.validate_json(OLD_STATE)
    assert (state.fraction, state.seconds, state.best.value) == (0.25, 22.5, 0.6)
    config = TypeAdapter(FineTuneConfig).validate_python(state.config)
    assert config == FineTuneConfig(seconds=90.0, seed=7)
    expected = json.loads(OLD_STATE)
    expected["best"] |= {"n_right": None, "n_objects": None}  # it did not count them
    assert json.loads(adapter.dump_json(state, by_alias=True)) == expected


def test_the_moments_of_the_encoder_come_last_as_in_every_checkpoint(random_model):
    named = [name for name, _ in random_model.network.named_parameters()]
    encoder = [name.startswith("base_model.") for name in named]
    parameters = dict(random_model.network.named_parameters())
    (group,) = make_optimizer(random_model.network, 1e-3).param_groups
    expected = [n for n, e in zip(named, encoder, strict=True) if not e]
    expected += [n for n, e in zip(named, encoder, strict=True) if e]
    assert all(p is parameters[n] for p, n in zip(group["params"], expected, strict=True))
