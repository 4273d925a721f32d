# Kills, a partition and its healing, under load. Sourced by tests/docker/run after main_job.sh.

say "load: events one by one and answers for four callers at a time, from now to the end"
ids=$work/acknowledged
: >"$ids"
load_events() {
  local i=0 body=$work/load.body
  while [ ! -e "$work/stop" ]; do
    i=$((i + 1))
    printf '{"id":"load%d","type":"click","user":"u%d","item":"i%d","event_time":"2026-02-01T00:00:00Z"}\n' $i $((i % 500)) $((i % 300)) >"$body"
    [ "$(curl -s -m 20 -o "$work/load.events" -w '%{http_code}' -H "Authorization: Bearer $api_key" -H 'Content-Type: application/x-ndjson' \
      --data-binary "@$body" "$url/v1/events")" = 200 ] && grep -qE '"(added|duplicate)":1' "$work/load.events" && cat "$body" >>"$ids"
  done
}
load_answers() { # N
  local i=$1 answer=$work/load.answer.$1
  while [ ! -e "$work/stop" ]; do
    i=$((i + 7))
    printf '%s %s %s\n' "$(now_ms)" "$(curl -s -m 5 -o "$answer" -w '%{http_code}' -H "Authorization: Bearer $api_key" \
      "$url/v1/users/u$((i % 500))/recommendations?n=5")" "$(grep -c '"degraded":\[\]' "$answer")" >>"$work/load.log"
  done
}
load_events 2>/dev/null &
loaders=($!)
for n in 1 2 3 4; do load_answers $n 2>/dev/null & loaders+=($!); done
sleep 3
window() { # FROM TO: answers of 200 in it, degraded ones among them, others
  awk -v a="$1" -v b="$2" '$1 >= a && $1 <= b { if ($2 == 200) { n++; if ($3 == 0) d++ } else f++ } END { printf "%d %d %d", n, d, f }' "$work/load.log"
}
say "docker kill -s KILL of each container, down for 5 s"
printf '  %-18s %10s %9s %9s %9s\n' container answers degraded failed healthy
for service in $services; do
  begun=$(now_ms)
  docker kill -s KILL "$(container "$service")" >/dev/null
  sleep 5
  back=$(now_ms)
  docker start "$(container "$service")" >/dev/null
  wait_for 120 is_healthy "$service" || true
  healthy=$(now_ms)
  read -r good degraded bad <<<"$(window "$begun" "$healthy")"
  printf '  %-18s %10d %9d %9d %7.1f s\n' "$service" "$good" "$degraded" "$bad" "$(awk -v a="$back" -v b="$healthy" 'BEGIN { print (b - a) / 1000 }')"
  check "$service is healthy again" is_healthy "$service"
  if [ "$service" = gateway-0 ]; then check "answers come again" wait_for 30 undegraded
  else check "answers went on without $service" test "$good" -gt 0 -a "$bad" = 0
  fi
  sleep 2
done

say "a partition between the gateway and both rankers"
network=${project}_fleet
for n in 0 1; do docker network disconnect $network "$(container ranker-$n)"; done
sleep 3
check "the answer comes, and says that it is degraded" is_degraded
answer | jq -c '{items: [.items[].item], degraded}'
for n in 0 1; do docker network connect --alias ranker-$n.ranker --alias ranker-$n $network "$(container ranker-$n)"; done
healing=$(now_ms)
check "it heals" wait_for 60 undegraded
say "healed in $(awk -v a="$healing" -v b="$(now_ms)" 'BEGIN { print (b - a) / 1000 }') s"

touch "$work/stop"
wait "${loaders[@]}" || true
acknowledged=$(wc -l <"$ids")
check "events were acknowledged under load: $acknowledged" test "$acknowledged" -gt 0
check "nothing acknowledged is lost: sent again, every one is known" test "$(post /v1/events "$ids")" = "0 new, $acknowledged known"
