#!/usr/bin/env bash
# The main job, end to end: two YAML files become a model behind a safe URL.
# Run it as often as you like; what is there already is used as it is.
set -euo pipefail
cd "$(dirname "$0")"

# `make demo` names the folder with the programs it built.
path_hint=
if [ -n "${SLUICE_BIN:-}" ]; then
  command -v sluice >/dev/null || path_hint="  export PATH=\"$SLUICE_BIN:\$PATH\""$'\n'
  PATH="$SLUICE_BIN:$PATH"
fi

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
if [ ! -t 1 ]; then say() { printf '\n%s\n' "$*"; }; fi

say '$ sluice up --detach'
sluice up --detach

if sluice online-endpoint show --name iris --output none 2>/dev/null; then
  say 'Endpoint iris is there already.'
else
  say '$ sluice online-endpoint create --file endpoint.yml'
  sluice online-endpoint create --file endpoint.yml --output none
fi

state=$(sluice online-deployment show --endpoint-name iris --name blue --query provisioning_state --output tsv 2>/dev/null || true)
case "$state" in
  Succeeded) say 'Deployment blue is there already.' ;;
  '')
    say '$ sluice online-deployment create --file blue-deployment.yml --all-traffic'
    sluice online-deployment create --file blue-deployment.yml --all-traffic --output none ;;
  *)
    say '$ sluice online-deployment update --file blue-deployment.yml'
    sluice online-deployment update --file blue-deployment.yml --output none
    sluice online-endpoint update --name iris --traffic blue=100 --output none ;;
esac

say '$ sluice online-endpoint invoke --name iris --request-file request.json'
sluice online-endpoint invoke --name iris --request-file request.json --output tsv

uri=$(sluice online-endpoint show --name iris --query scoring_uri --output tsv)
say 'The model answers at'
echo "  $uri"
say 'Call it with any HTTP client:'
cat <<TXT
${path_hint}  eval "\$(sluice env)"
  curl $uri \\
    -H "Authorization: Bearer \$(sluice online-endpoint get-credentials --name iris --query primaryKey --output tsv)" \\
    -H 'Content-Type: application/json' \\
    -d @$PWD/request.json
TXT
say 'See its log, or stop everything:'
cat <<TXT
  sluice online-deployment get-logs --endpoint-name iris --name blue
  sluice down
TXT
