# The main job on the containers, as tests/scenario/end_to_end.test.cpp does it in one process tree: from files to an answer that
# explains itself, and back from a bad release. Sourced by tests/docker/run.

say "a world: a part of it over HTTP, then all of it as files"
cli generate --quiet --out /work/world --users 1000 --items 300 --events 140000 --exploration 0.6 --seed 7
post() { # PATH FILE: posts a file in pieces, each answered with 200; prints how many rows were new and how many were known
  local added=0 known=0 piece status counts
  rm -f "$work"/piece.*
  split -l 5000 "$2" "$work/piece."
  for piece in "$work"/piece.*; do
    rm -f "$work/posted"
    status=$(curl -s -m 30 -o "$work/posted" -w '%{http_code}' -H "Authorization: Bearer $api_key" \
      -H 'Content-Type: application/x-ndjson' --data-binary "@$piece" "$url$1") || true
    counts=$(jq -er 'select(.added and .duplicate) | "\(.added) \(.duplicate)"' "$work/posted" 2>/dev/null) || counts=''
    [ "$status" = 200 ] && [ -n "$counts" ] ||
      { echo "POST $1 of ${piece##*/} was answered with $status: $(head -c 300 "$work/posted" 2>/dev/null)" >&2; return 1; }
    added=$((added + ${counts% *})) known=$((known + ${counts#* }))
  done
  echo "$added new, $known known"
}
world=$work/share/world
head -n 20000 "$world/events.jsonl" >"$work/first-events.jsonl"
users=$(wc -l <"$world/users.jsonl") items=$(wc -l <"$world/items.jsonl") events=$(wc -l <"$world/events.jsonl")
# Over HTTP a user or item is alive again if it was deleted: it is not the same record as that of a file.
sed 's/"id":"w7-/"id":"http-/' "$world/users.jsonl" >"$work/http-users.jsonl"
check "$users users are added over HTTP" test "$(post /v1/users "$work/http-users.jsonl")" = "$users new, 0 known"
check "20000 events are added over HTTP" test "$(post /v1/events "$work/first-events.jsonl")" = "20000 new, 0 known"
check "sent again they add nothing" test "$(post /v1/events "$work/first-events.jsonl")" = "0 new, 20000 known"
ingested() { cli --json ingest "/work/world/*.jsonl" | tail -n 1 | jq -r '"\(.state) \(.users_added) \(.items_added) \(.events_added) \(.duplicates) \(.quarantined)"'; }
check "the files add what is not there, sent by the command line" test "$(ingested)" = "done $users $items $((events - 20000)) 20000 0"
check "the log has each once" test "$(cli --json log info | jq -r '"\(.users) \(.items) \(.events)"')" = "$((2 * users)) $items $events"
applied() { [ "$(cli --json features get --at watermark --entity user u1 --timeout 30s | jq '[.. | .status? // empty | select(. == "present")] | length')" -gt 0 ]; }
check "features are there" wait_for 60 applied

train() { # NAME CONFIG [MORE OF [run]]: trains on the log and registers what passes the gate; prints the last status
  printf '%s\n[run]\nname = "%s"\nevent_types = ["click", "rating"]\n%s\n' "$2" "$1" "${3:-}" >"$work/share/$1.toml"
  cli --json train "/work/$1.toml" --follow 2>>"$work/train-$1.log" | tee -a "$work/train-$1.log" | tail -n 1
}
state() { jq -r .state; }
rollout() { cli --json rollouts show current; }
# roll_out RELEASE: a canary that simulated users judge, as long as it takes; 0 when it is promoted.
# 1,000 users cannot prove a small difference in a minute: what is tried here is the way, not the statistics.
roll_out() {
  printf 'strategy = "canary"\nrelease = "%s"\nsteps = [30, 100]\npause = "2s"\ngive_up = "5m"\n[verdict]\nmin_sample = 300\nclick_margin = 0.3\n' \
    "$1" >"$work/share/canary-$1.toml"
  cli rollouts start --spec "/work/canary-$1.toml" --follow >"$work/canary-$1.log" 2>&1 &
  local following=$! seed=0
  while kill -0 $following 2>/dev/null && [ $seed -lt 60 ]; do
    seed=$((seed + 1))
    cli simulate --api-key file:/work/key --users 1000 --items 300 --seed 7 --visit-seed $seed \
      --visits 1000 --n 10 --quiet >>"$work/visits.log" 2>&1 || true
  done
  wait $following
}
echo "$api_key" >"$work/share/key" # for the one who asks, not for the fleet

say "a training set, correct at the point in time, by its name"
cat >"$work/share/ratings.toml" <<'SPEC'
name = "ratings"
features = ["user_activity.impressions_7d", "user_activity.click_rate_30d", "item_activity.click_rate", "item_activity.impressions"]
[labels]
event = "rating"
SPEC
check "it is built" cli --json training-set build /work/ratings.toml --out /work/ratings
check "it is what its manifest says" cli training-set verify /work/ratings

say "train, gate, release, canary"
check "a popularity model is trained" test "$(train popular 'model = "popularity"' | state)" = done
check "and released" cli releases build --name popular --model popular
check "it serves everybody (blue-green)" cli rollouts start --release popular --strategy blue-green --follow
printf '[[check]]\nmetric = "ndcg_at_10"\nagainst = "production"\nwithin = 0.05\n' >"$work/compose/fleet/gate.toml"
check "EASE passes the gate beside what is in production" test "$(train ease $'model = "ease"\nease.l2 = 300.0' | state)" = done
check "so do item neighbours" test "$(train item_knn 'model = "item_knn"' | state)" = done
check "a DCN is trained on the training set, by its name" test \
  "$(train dcn $'model = "dcn"\n[dcn]\ntraining_set = "ratings"\nlabel = "label_value"\npositive_at_least = 4\nepochs = 1' 'skip_gate = true' | state)" = done
check "an ensemble is one release" cli releases build --name personal --model ease=0.8 --model item_knn=0.2
check "its bundle is what its hash says" cli releases verify personal
check "the canary is promoted by what simulated users do" roll_out personal

say "an answer that explains itself"
answer() { curl -s -m 30 -H "Authorization: Bearer $api_key" "$url/v1/users/${1:-u1}/recommendations?n=5&explain=1" || true; }
is_degraded() { answer | jq -e '(.items | length > 0) and (.degraded | length > 0)' >/dev/null; }
undegraded() { answer | jq -e '(.items | length == 5) and (.degraded | length == 0)' >/dev/null; }
check "an answer of five items, not degraded" wait_for 30 undegraded
answer | tee "$work/answer" | jq -c '{release, arm, items: [.items[] | {item, title, sources, models}][0:2], degraded}'
check "each with title, sources and the score of both models" jq -e \
  '.items | all((.title | length > 0) and (.sources | length > 0) and (.models | length == 2))' "$work/answer"
for port in 8080 8081; do
  curl -s -m 30 -H "Authorization: Bearer $api_key" "http://$TROUPE_ADDRESS:$port/v1/requests/$(jq -r .request_id "$work/answer")" >"$work/inspected"
  check "the gateway at port $port tells its stages, features, arm and release afterwards" jq -e --slurpfile a "$work/answer" \
    '(.stages | length > 0) and (.features | length > 0) and .arm == $a[0].arm and .release == $a[0].release' "$work/inspected"
done
check "the command line finds a gateway by the catalog" cli recommend u1 --n 3 --explain --api-key file:/work/key
first=$(jq -r '.items[0].item' "$work/answer")
printf '{"id":"clicked","type":"click","user":"u1","item":"%s","event_time":"2026-04-01T00:00:00Z"}\n' "$first" >"$work/click.jsonl"
check "a click is taken" test "$(post /v1/events "$work/click.jsonl")" = "1 new, 0 known"
changed() { answer | jq -e --arg i "$first" '(.items | length == 5) and all(.items[]; .item != $i)' >/dev/null; }
check "and changes the next answers" wait_for 20 changed

say "a bad model: stopped by the gate; past it, rolled back by what simulated users do"
printf '[[check]]\nmetric = "ndcg_at_10"\nat_least = 0.04\n' >"$work/compose/fleet/gate.toml"
random=$'model = "bpr"\n[bpr]\nepochs = 1\nlearning_rate = 1e-9\nlast_learning_rate = 0.0'
check "the gate says metric, value and bound" grep -qE 'ndcg_at_10 is [0-9.e-]+, below 0\.04' <<<"$(train random "$random" | jq -r .error)"
no() { ! "$@"; }
check "nothing is registered" no cli models show random
check "it is let in on demand" test "$(train random "$random" 'skip_gate = true' | jq -r '.error // ""')" = ''
check "and released so" cli releases build --name random --model random --skip-gate
before=$(cli --json routing | jq -r '.arms[0].release')
check "its canary is not promoted" no roll_out random
rollout >"$work/rolled-back.json"
jq -c '{state, reason}' "$work/rolled-back.json"
check "it is rolled back for its click rate" jq -e '.state == "rolled_back" and (.reason | contains("click_rate"))' "$work/rolled-back.json"
check "users are served what they were served before" test "$(cli --json routing | jq -r '[.arms[].release] | unique | join(" ")')" = "$before"
