"""Eight simulated devices on every mesh against one device: losses, gradients, evaluation, bytes a device."""

import json
import math

import numpy as np
import pytest

RUN = """
    import json
    from dataclasses import replace
    from aila_jax.config import AdapterConfig, AnchorConfig, LocalityConfig, PenaltyConfig
    from tests.support.meshes import MODEL, Placed, facts, mesh_config, one_device

    LLAMA = replace(
        MODEL, n_kv_heads=2, norm="rms_norm", feed_forward="swiglu", tied=False, learned_positions=False,
        rotary_base=1e4, qkv_bias=False, out_bias=False, mlp_bias=False, film=False,
    )
    ADAPTED = replace(MODEL, adapters=AdapterConfig(rank=2))
    PENALTY = dict(groups=4, eta=0.02, nu=0.01)

    def of(name, mesh):
        match name:
            case "usual":
                return mesh_config(mesh)
            case "shallow":
                return mesh_config(mesh, replace(MODEL, n_layers=1, film=False))
            case "llama":
                return mesh_config(mesh, LLAMA)
            case "cut":  # microbatches, losses by chunks, layers computed again
                return mesh_config(mesh, accumulate=2, loss_chunk=20, remat="dots")
            case "deep":  # a loop over layers, tiles of attention
                return mesh_config(mesh, replace(MODEL, n_layers=5, attention="chunked", film=False))
            case "frozen":
                config = mesh_config(mesh, ADAPTED, trained="dial", weight_decay=0.0)
                return replace(config, locality=LocalityConfig(mode="conditional", taught=0.5, at_one=0.3, pressure=0.2))
            case "views":
                config = mesh_config(mesh)
                return replace(config, locality=LocalityConfig(mode="conditional", views=2, distill=0.5))
            case "muon":
                return mesh_config(mesh, replace(MODEL, n_kv_heads=2), optimizer="muon")
            case "proximal" | "subgradient":
                return replace(mesh_config(mesh, replace(MODEL, n_kv_heads=8)), penalty=PenaltyConfig(solver=name, **PENALTY))

    found = {}
    for name, meshes in MESHES.items():
        found[name] = [facts(Placed.begin(of(name, (0, 1, 1)), one_device()), STEPS)]
        for mesh in meshes:
            found[name].append({"mesh": mesh, **facts(Placed.begin(of(name, mesh)), STEPS)})
    print(json.dumps(found))
"""
ALL = [[8, 1, 1], [4, 2, 1], [2, 4, 1], [1, 8, 1], [2, 2, 2], [4, 1, 2], [1, 2, 4], [1, 1, 8]]


@pytest.fixture
def compared(run_in_subprocess_with_devices):
    """Compares meshes with one device, over so many steps; returns what the meshes said."""

    def compare(steps: int, **meshes: list[list[int]]):
        code = RUN.replace("STEPS", str(steps)).replace("MESHES", repr(meshes))
        found = json.loads(run_in_subprocess_with_devices(8, code, timeout=3000.0))
        assert found.keys() == meshes.keys()
        for name, (one, *others) in found.items():
            assert [other["mesh"] for other in others] == meshes[name]
            for other in others:
                words = f"{name} {other['mesh']}"
                np.testing.assert_allclose(
                    [row[0] for row in other["losses"]],
                    [row[0] for row in one["losses"]],
                    rtol=1e-5,
                    err_msg=words,
                )
                # The norm of gradients, and losses by λ.
                np.testing.assert_allclose(
                    other["losses"], one["losses"], rtol=2e-4, atol=1e-5, err_msg=words
                )
                assert other["traces"] == one["traces"] == 1
                for mine, yours in zip(other["sums"], one["sums"], strict=True):
                    np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-4, err_msg=words)
        return found

    return compare


def test_a_mesh_of_all_three_axes_gives_the_losses_of_one_device(compared):
    compared(4, shallow=[[2, 2, 2]])


@pytest.mark.parametrize(("name", "meshes"), [
    pytest.param("usual", ALL[:4], marks=pytest.mark.medium),
    pytest.param("usual", ALL[4:], marks=pytest.mark.slow),
    pytest.param("llama", [[4, 2, 1], [1, 8, 1]], marks=pytest.mark.medium),
    pytest.param("llama", [[2, 2, 2], [1, 2, 4]], marks=pytest.mark.slow),
])  # fmt: skip
def test_every_mesh_gives_the_losses_of_one_device_and_bytes_fall_as_one_over_fsdp(compared, name, meshes):
    small = {"usual": 0.02, "llama": 0.0}[name]  # what has no width is whole
    for other in compared(20, **{name: meshes})[name][1:]:
        _, fsdp, tensor = other["mesh"]
        for own, whole in other["held"].values():
            least = whole / fsdp
            if tensor == 1:
                assert least <= own <= least + small * whole + 64, other["mesh"]
            else:
                assert least / tensor <= own < least, other["mesh"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut", "deep", "frozen", "views", "proximal", "subgradient", "muon"])
def test_what_a_step_may_also_do_is_the_same_on_a_mesh(compared, name):
    found = compared(20, **{name: [[2, 2, 2], [1, 4, 2]]})
    if name == "frozen":
        own, whole = found[name][1]["held"]["base"]
        assert whole / 4 <= own <= whole / 2
        assert math.isclose(found[name][0]["held"]["base"][0], whole)
