#!/usr/bin/env bash
# Runs make targets that test, one after the other, whatever becomes of each: all.sh TARGET...
#
# At the end it says how long each took and adds up their counts, which are the last line of what each prints.
set -uo pipefail
cd "$(dirname "$0")/.."

out=target/test-all
mkdir -p $out
rm -f $out/*.txt
failed=()
table=()
for part in "$@"; do
  begin=$SECONDS status=0
  make --no-print-directory "$part" 2>&1 | tee "$out/$part.txt" || status=$?
  took=$((SECONDS - begin))
  count=$(grep -E '^[0-9]+ tests: ' "$out/$part.txt" | tail -n 1)
  [ $status -eq 0 ] || failed+=("$part")
  table+=("$(printf '%-14s %2d min %02d s  %s' "$part" $((took / 60)) $((took % 60)) "${count:-no end}")")
done

printf '%s\n' "== how long each part took" "${table[@]}"
for part in "$@"; do grep -hE '^[0-9]+ tests: ' "$out/$part.txt" | tail -n 1; done | awk '
  { tests += $1; passed += $3; failed += $5; skipped += $7 }
  END { printf "%d tests: %d passed, %d failed, %d skipped\n", tests, passed, failed, skipped }'
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
