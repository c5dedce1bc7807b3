#!/bin/sh
# Starts the release build for a promqltest runner: spawn.sh DATA PORT. Scripts begin in 1970 and use experimental
# functions, so the retention is long and the features are on; a write is visible when it is answered.
set -eu
data=$1
port=$2
top=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$data"
cat > "$data.yml" <<YML
storage:
  retention: 100y
features: [promql-experimental-functions, promql-extended-range-selectors, promql-binop-fill-modifiers, promql-delayed-name-removal]
self_scrape: false
hosts: {enabled: false}
YML
exec "$top/target/release/observatory" up --listen "127.0.0.1:$port" --data "$data" --config "$data.yml"
