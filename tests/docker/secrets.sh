# No secret in any log, image or inspection. Sourced by tests/docker/run.

say "secrets"
find_secret() { # in stdin: true when no secret is there
  ! grep -qF -f "$work/secrets.txt"
}
{ cat "$work"/compose/secrets/*.secret; echo "$api_key"; } >"$work/secrets.txt"
for service in $services; do
  check "no secret in the log of $service" find_secret < <(docker logs "$(container "$service")" 2>&1)
  check "no secret in the inspection of $service" find_secret < <(docker inspect "$(container "$service")")
done
for service in $(sed 's/-[0-9]*$//' <<<"$services" | sort -u) cli; do
  check "no secret in any layer of troupe/$service" find_secret < <(docker history --no-trunc "$(image_name "$service")"; docker save "$(image_name "$service")" | tar -xO)
done
