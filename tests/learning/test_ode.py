"""The latent neural ODE: its solve, its members, its clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from batterykit.errors import UsageError
from batterykit.learning.losses import HUBER_WIDTH, masked_huber
from batterykit.learning.models.ode import LATENT, Dynamics, LatentOde
from batterykit.learning.splits import inner_folds
from batterykit.learning.trainer import TrainOptions, choose_device, deterministic, train_members
from tests.learning.cells import made_raw, sequences


def made_inputs(members: int, cells: int, sets: int) -> tuple[torch.Tensor, ...]:
    random = np.random.default_rng(1)
    use = random.normal(size=(sets, members, cells, 3))
    step = random.uniform(0.05, 0.4, size=(sets, members, cells, 1))
    return tuple(map(torch.from_numpy, (use, step, random.normal(size=(members, cells, 2)))))


def test_the_batched_solve_is_scipys_solution_of_each_cell_by_itself() -> None:
    dynamics = Dynamics(members=2, inputs=3, contexts=2, seed=0)
    with torch.no_grad():
        dynamics.outer *= 5  # so that the state moves enough for the solver to matter
    use, step, context = made_inputs(members=2, cells=3, sets=5)
    found = dynamics(use, step, context).detach().numpy()
    weights = {name: value.numpy() for name, value in dynamics.state_dict().items()}
    for member in range(2):
        w = {name: value[member] for name, value in weights.items()}
        for cell in range(3):
            state = context[member, cell].numpy() @ w["start"]
            course = [state @ w["decoder"]]
            for number in range(5):
                u = use[number, member, cell].numpy()

                def slope(_: float, z: np.ndarray, u: np.ndarray = u, w: dict = w) -> np.ndarray:
                    hidden = np.tanh(np.concatenate([z, u]) @ w["inner"] + w["inner_bias"][0])
                    return hidden @ w["outer"] + w["outer_bias"][0]

                span = (0.0, step[number, member, cell].item())
                state = solve_ivp(slope, span, state, rtol=1e-11, atol=1e-12).y[:, -1]
                course.append(state @ w["decoder"])
            np.testing.assert_allclose(found[member, cell], np.ravel(course), atol=1e-6)


def test_a_set_of_no_duration_leaves_the_state_as_it_is() -> None:
    dynamics = Dynamics(members=1, inputs=3, contexts=2, seed=0)
    use, step, context = made_inputs(members=1, cells=2, sets=4)
    step[2:] = 0
    found = dynamics(use, step, context)
    assert torch.equal(found[..., 2], found[..., 4])


def test_members_trained_together_become_what_they_become_alone() -> None:
    inputs = made_inputs(members=3, cells=4, sets=5)
    wanted = torch.from_numpy(np.random.default_rng(2).normal(size=(3, 4, 6)))
    everything = torch.ones(3, 4, 6, dtype=torch.bool)
    options = TrainOptions(epochs=12, check_every=20)

    def trained(members: list[int]) -> torch.Tensor:
        dynamics = Dynamics(3, 3, 2, seed=0)
        for parameter in dynamics.parameters():
            parameter.data = parameter.data[members].clone()
        some = [inputs[0][:, members], inputs[1][:, members], inputs[2][members]]
        with deterministic():
            train_members(
                list(dynamics.parameters()),
                lambda: masked_huber(dynamics(*some) - wanted[members], everything[members]),
                lambda: 0.0,
                replace(options, epochs=12, check_every=1, patience=0),
                lambda text: None,
            )
        return dynamics(*some)

    together = trained([0, 1, 2])
    for member in range(3):
        torch.testing.assert_close(trained([member])[0], together[member], rtol=0, atol=1e-12)


def test_training_leaves_the_weights_of_the_best_validation() -> None:
    weight = torch.nn.Parameter(torch.tensor([[4.0]], dtype=torch.float64))
    scores: list[tuple[float, float]] = []

    def score() -> float:
        scores.append((abs(weight.item() - 3.0), weight.item()))
        return scores[-1][0]

    best, history = train_members(
        [weight],
        lambda: (weight**2).sum(dim=1),
        score,
        TrainOptions(epochs=200, check_every=5, patience=4, learning_rate=0.05),
        lambda text: None,
    )
    assert weight.item() == min(scores)[1]
    assert 0 < best < 200
    assert len(history) - 1 == best // 5 + 4
    assert [entry["epoch"] for entry in history] == list(range(0, best + 21, 5))


def test_training_on_another_number_of_threads_changes_nothing() -> None:
    data = sequences(made_raw(rpts=5))
    model = LatentOde(seed=1)
    threads = torch.get_num_threads()
    found = []
    for number in (1, 2):
        torch.set_num_threads(number)
        quick = type("Quick", (LatentOde,), {"options": TrainOptions(epochs=10)})(seed=1)
        found.append(quick.fit(data, inner_folds(data, "loco")).predict(data))
        assert torch.get_num_threads() == number
    torch.set_num_threads(threads)
    np.testing.assert_array_equal(*found)
    assert model.seed == 1


def test_another_seed_starts_from_other_weights() -> None:
    one, other = (Dynamics(2, 3, 2, seed).inner for seed in (0, 1000))
    assert one.shape == (2, 3 + LATENT, one.shape[-1])
    assert not torch.allclose(one, other)
    assert not torch.allclose(one[0], one[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no CUDA.*--device cpu"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_it_learns_a_law_that_the_mean_course_does_not_know() -> None:
    data = sequences(made_raw(cells=12, rpts=8))
    train, test = data.take(range(9)), data.take(range(9, 12))
    model = LatentOde().fit(train, inner_folds(train, "loco"))
    error = np.abs(model.predict(test) - test.y)[test.scored].mean()
    mean = np.abs(train.y.mean(axis=0) - test.y)[test.scored].mean()
    assert error < 0.5 * mean


def test_the_huber_loss_is_torchs_over_the_mask_and_finite_on_any() -> None:
    error = torch.linspace(-3, 3, 24, dtype=torch.float64).reshape(2, 3, 4)
    mask = torch.arange(24).reshape(2, 3, 4) % 3 == 0
    mask[1] = False
    error[~mask] = torch.nan
    error.requires_grad_()
    loss = masked_huber(error, mask)
    wanted = torch.nn.functional.huber_loss(
        error[0][mask[0]], torch.zeros(int(mask[0].sum()), dtype=torch.float64), delta=HUBER_WIDTH
    )
    assert loss[0].item() == pytest.approx(wanted.item())
    assert loss[1].item() == 0
    loss.sum().backward()
    assert torch.isfinite(error.grad).all()
