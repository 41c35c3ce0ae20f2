#!/usr/bin/env bash
# Make an environment with rknn-toolkit2 2.5.0, which makes and simulates RKNN files: about 1.5 GB.
#
#   tools/rknn_env.sh [FOLDER]     default: ~/.local/share/ghost-deploy/rknn, where it is found by itself
#
# PYTHON names the interpreter, 3.8 to 3.12 on x86-64 Linux (default: python3). The toolkit asks for a
# torch of 2024 with all of CUDA; it works with the CPU build of the one below, which is why nothing
# is installed by its own requirements.
set -euo pipefail
folder=${1:-${XDG_DATA_HOME:-$HOME/.local/share}/ghost-deploy/rknn}
python=${PYTHON:-python3}
if [ "$(uname -m)" != x86_64 ]; then
  echo "rknn-toolkit2 is for x86-64; on the board install rknn-toolkit-lite2" >&2
  exit 3
fi
"$python" -c 'import sys; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 12))' || {
  echo "rknn-toolkit2 is made for Python 3.8 to 3.12; name one: PYTHON=python3.11 $0" >&2
  exit 3
}
"$python" -m venv "$folder"
install() { "$folder/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }
echo 'pip will report conflicts with what the toolkit asks for: they are expected'
install --no-deps rknn-toolkit2==2.5.0
# A build without CUDA is enough: on a machine where pip finds the large one, name the index of the
# CPU builds in TORCH_INDEX, as pytorch.org says.
install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --no-deps "torch==${TORCH:-2.13.0}"
install 'numpy<=1.26.4' 'onnx>=1.16.1,<=1.18.0' 'onnxruntime>=1.17,<1.24' 'protobuf>=4.21.6,<=4.25.4' \
  'opencv-python-headless<4.12' 'setuptools>=77.0.3,<81' psutil ruamel.yaml scipy tqdm fast-histogram \
  filelock fsspec jinja2 networkx sympy typing_extensions
"$folder/bin/python" -c 'from rknn.api import RKNN' # it answers
du -sm "$folder" | awk '{ print "rknn-toolkit2 is in " $2 ", " $1 " MB" }'
echo "$folder/bin/python"
