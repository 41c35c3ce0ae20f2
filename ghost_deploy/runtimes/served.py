"""Models on servers: with the bundle that they were made of, or by what the server says alone."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ghost_deploy.core.bundle import NMS_FORM, Artifact, Bundle
from ghost_deploy.core.errors import BundleError, SignatureError, SpecError, UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.core.trusted_signers import trusted_signers
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.inference_server import HASH_KEY, PRECISION_KEY, InferenceServer
from ghost_deploy.runtimes.run_plan import check_precisions
from ghost_deploy.runtimes.server_url import is_server_url
from ghost_deploy.runtimes.table import NO_FILE, open_file


def server_of(
    model: object, url: str | InferenceServer | None, runtime: str = "auto"
) -> InferenceServer | None:
    """The server that is named, by `url` or in the place of the model; None where none is.

    Args:
        model: a `InferenceServer`, the address of one, or anything else.
        url: of a server that runs a model of the bundle.
        runtime: that is asked for.

    Raises:
        UsageError: two servers, a server and another runtime, or `kserve` without a server.
    """
    named = model if isinstance(model, InferenceServer) or is_server_url(model) else None
    if named is not None and url is not None:
        raise UsageError("two servers are named", fix="Leave out --url (url= in Python)")
    found = named if url is None else url
    if (found is None and runtime == "kserve") or (
        found is not None and runtime not in ("auto", "kserve")
    ):
        raise UsageError(
            "the runtime kserve and the address of a server belong together",
            got=f"runtime {runtime}, {'no' if found is None else 'an'} address",
            fix="Give both, or none: --runtime kserve --url http://HOST:8000/MODEL",
        )
    return (
        InferenceServer(str(found))
        if found is not None and not isinstance(found, InferenceServer)
        else found
    )


def open_served(options: RuntimeOptions) -> tuple[Runtime, ModelSpec]:
    """Open the model on `options.server` with the description that the server gives.

    Raises:
        SpecError: the server gives none, or a damaged one.
        SignatureError: signatures are asked for, which a server does not have.
        BackendError, UnavailableError: as `open_model` of the runtime `kserve`.
    """
    where = _where(options)
    _refuse_if_trust_is_asked(where)
    opened = open_file("kserve", NO_FILE, options)
    try:
        text = opened.metadata().get(ModelSpec.Json)
        if text is None:
            raise SpecError(
                f"{where} gives no description of the model",
                expected=f"the parameter {ModelSpec.Json}, which export --triton writes",
                fix="Give the bundle that it was made of too: BUNDLE --runtime kserve --url URL "
                "(gd.load(BUNDLE, url=URL))",
            )
        return opened, ModelSpec.from_json(text, where=f"{ModelSpec.Json} of {where}")
    except BaseException:
        opened.close()
        raise


def served_view(bundle: Bundle, options: RuntimeOptions, precision: str | None = None) -> Bundle:
    """`bundle` with only the artifact that the model on `options.server` was made of.

    Args:
        bundle: that the model on the server was made of.
        options: with the server.
        precision: of the artifact, where the server does not say which one it runs; default: the
            most exact one.

    Raises:
        BundleError: the server runs another model, or the bundle has no artifact in `precision`.
        SignatureError: signatures are asked for: what a server runs cannot be verified.
        BackendError, UnavailableError: as `open_model` of the runtime `kserve`.
    """
    check_precisions([precision] if precision else None)
    where = _where(options)
    _refuse_if_trust_is_asked(where)
    with open_file("kserve", NO_FILE, options) as opened:
        artifact = _artifact_of(bundle, opened.metadata(), precision, where)
    document = msgspec.structs.replace(bundle.document, artifacts=(artifact,))
    return Bundle(bundle.path, document, bundle.signers)


def _artifact_of(
    bundle: Bundle, said: Mapping[str, str], precision: str | None, where: str
) -> Artifact:
    wanted = said.get(HASH_KEY)
    runnable = [each for each in bundle.artifacts if each.form != NMS_FORM]
    if wanted is not None:
        kind = said.get(PRECISION_KEY, "")  # of equal files, e.g. of a network in half precision
        found = [
            each
            for each in runnable
            if each.files[each.path] == wanted and kind in ("", each.precision)
        ]
        if not found:
            raise BundleError(
                f"{where} runs another model than {bundle.path} holds",
                got=f"sha256 {wanted[:12]}",
                expected=", ".join(f"{a.id} {a.files[a.path][:12]}" for a in runnable) or "none",
                fix="Serve this bundle: ghost-deploy export BUNDLE --triton DIR; or give the "
                "bundle that is served, or the address alone",
            )
    else:
        order = [precision] if precision else ["fp32", "fp16", "int8"]
        found = [a for each in order for a in runnable if a.precision == each]
    if not found or (precision and found[0].precision != precision):
        raise BundleError(
            f"{where} is not served from {bundle.path} in {precision or 'any precision'}",
            got=", ".join(each.id for each in found or runnable) or "no artifact",
            fix="Leave out --precision, or serve such an artifact",
        )
    return found[0]


def _where(options: RuntimeOptions) -> str:
    return str(options.server.address) if options.server else "a server"


def _refuse_if_trust_is_asked(where: str) -> None:
    if trusted_signers() is not None:
        raise SignatureError(
            f"what {where} runs cannot be verified",
            expected=f"a model signed by one of {trusted_signers()}",
            fix="Run the signed bundle on this machine, or do without --trust and "
            "$GHOST_DEPLOY_TRUST for this server",
        )
