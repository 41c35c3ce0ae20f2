"""`ghost-deploy sign`: a signature over a bundle, by an SSH key."""

from __future__ import annotations

import argparse
import shlex

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console

DESCRIPTION = """\
Sign a bundle with an SSH key: the model's description and the hashes and sizes of its artifacts, so
that --trust FILE of the other commands (GHOST_DEPLOY_TRUST for a whole machine) refuses bundles of
others. FILE has a line for each trusted signer, a name and a public key, in the form of OpenSSH's
ALLOWED SIGNERS. Accuracy and latency may be measured anew under the same signature; what a device
adds, engines for example, it signs with --device and a key of its own. Needs ssh-keygen.
"""
EXAMPLES = """\
examples:
  ssh-keygen -t ed25519 -f maker -C maker@factory
  echo "maker@factory $(cat maker.pub)" > trusted
  ghost-deploy sign out/best --key maker
  ghost-deploy infer out/best images --trust trusted
  ghost-deploy build out/best --trt --trust trusted
  ghost-deploy sign out/best --device --key /etc/ghost-deploy/device
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_bundle(parser)
    key = "private key of SSH, or a public one whose private part an agent holds"
    options.add_value(parser, "--key", "FILE", key, required=True)
    options.add_switches(
        parser, {"--device": "sign only what was added since the model was signed"}
    )
    options.add_trust(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Sign and print who signed."""
    from ghost_deploy import api
    from ghost_deploy.core.bundle.trust import claimed_signers

    bundle = api.sign(args.bundle, args.key, device=args.device)
    for signer in claimed_signers(bundle.path):
        console.result(f"signed {signer.document} with key {signer.key}")
    place = shlex.quote(str(bundle.path))
    console.result(f"next: ghost-deploy infer {place} SOURCE --trust FILE")
    return 0
