# No secret in any log, image or inspection. Sourced by tests/docker/run.

say "secrets"
cat "$work"/compose/secrets/*.secret >"$work/secrets.txt"
echo "$api_key" >>"$work/secrets.txt"
# without_secret FILE KNOWN: FILE holds KNOWN, so that it is what it should be, and no secret.
without_secret() { grep -qaF -- "$2" "$1" && ! grep -qaF -f "$work/secrets.txt" "$1"; }
sed 's/^/planted: /' "$work/secrets.txt" | head -n 1 >"$work/planted"
check "a planted secret is found" no without_secret "$work/planted" planted
for service in $services; do
  id=$(container "$service")
  docker logs "$id" >"$work/log.txt" 2>&1
  check "no secret in the log of $service" without_secret "$work/log.txt" "is ready"
  docker inspect "$id" >"$work/inspected.txt"
  check "no secret in the inspection of $service" without_secret "$work/inspected.txt" "$id"
done
# Every layer as one text, compressed or not, behind the history and the configuration of the image.
layers_of() {
  rm -rf "$work/image"
  mkdir "$work/image"
  docker history --no-trunc "$1" >"$work/image.txt"
  docker save "$1" | tar -x -C "$work/image"
  find "$work/image" -type f -print0 | while IFS= read -r -d '' file; do
    case $(od -An -tx1 -N4 "$file" | tr -d ' ') in
      1f8b*) gzip -dc "$file" ;;
      28b52ffd) zstd -dc "$file" ;;
      *) cat "$file" ;;
    esac
  done >>"$work/image.txt"
}
for service in $(sed 's/-[0-9]*$//' <<<"$services" | sort -u) cli; do
  layers_of "$(image_name "$service")"
  check "no secret in any layer of troupe/$service" without_secret "$work/image.txt" usr/bin/troupe
done
rm -rf "$work/image" "$work/image.txt"
