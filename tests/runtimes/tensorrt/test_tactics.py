"""Engines that need neither cuBLAS nor cuDNN."""

from __future__ import annotations

from types import ModuleType

from ghost_deploy.runtimes.tensorrt import compat


def test_no_external_tactics(fake_trt: ModuleType) -> None:
    api = compat.load()
    builder = compat.new_builder(api, compat.derive(api.module.ILogger, log=lambda *_: None))
    config = builder.create_builder_config()
    compat.drop_external_tactics(api, config)
    ((kept,),) = fake_trt.__fake__.called("IBuilderConfig.set_tactic_sources")
    names = {
        name
        for name, member in vars(fake_trt.TacticSource)["__members__"].items()
        if kept >> int(member) & 1
    }
    assert names == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}
