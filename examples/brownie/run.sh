#!/usr/bin/env bash
# run.sh: the tests of this project on the network of `corechain up`. `make brownie` makes the environment first.
# Brownie keeps its networks in the home folder of the user: here in one of our own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); top=$(cd "$here/../.." && pwd)
export CORECHAIN_HOME=$(realpath "${CORECHAIN_HOME:-$top/.corechain}")
export CORECHAIN_CONTRACTS=$top/contracts SOLCX_BINARY_PATH=$top/.solcx HOME=$top/.corechain/brownie-home
export PYTHONPATH=$here
[ -f "$CORECHAIN_HOME/endpoints.json" ] || { echo "no network runs in $CORECHAIN_HOME: corechain up"; exit 2; }
node=$("$top/.corechain/brownie/bin/python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["anvil"])' "$CORECHAIN_HOME/endpoints.json")
mkdir -p "$HOME"; cd "$here"
brownie=$top/.corechain/brownie/bin/brownie
"$brownie" networks delete corechain > /dev/null 2>&1 || true
"$brownie" networks add CoreChain corechain host="$node" chainid=31337 > /dev/null
"$brownie" test tests/brownie_network.py --network corechain -s
