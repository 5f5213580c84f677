#!/usr/bin/env bash
# Gets uv, for `make env` on a machine that has none: a virtual environment with pip, then uv from PyPI.
# Usage: bootstrap_uv.sh PYTHON FOLDER
set -euo pipefail
python="$1" folder="$2"

fail() { echo "env: $1" >&2; rm -rf "$folder"; exit 1; }

command -v "$python" >/dev/null ||
    fail "there is no $python: install Python 3.11 or newer, or run make PYTHON=/path/to/python env."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is older than 3.11: run make PYTHON=/path/to/python3.11 env."

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        fail "$python cannot make virtual environments: install uv, or the package python3-venv."
    echo "env: installing python3-venv"
    version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && { apt-get -qq install -y --no-install-recommends "python$version-venv" ||
        apt-get -qq install -y --no-install-recommends python3-venv; }; } >/dev/null ||
        fail "apt-get could not install python3-venv: install uv or python3-venv by hand."
fi

echo "env: fetching uv"
rm -rf "$folder"
"$python" -m venv "$folder" || fail "$python could not make a virtual environment in $folder."
# Its own complaint would be a page; a second try is enough for a network that is there.
"$folder/bin/pip" install --quiet --disable-pip-version-check --retries 1 'uv>=0.5' >/dev/null 2>&1 ||
    fail "pip could not fetch uv: check the network and the package index, or install uv by hand."
