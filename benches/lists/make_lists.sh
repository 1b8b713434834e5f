#!/bin/bash
# city.txt: the union of the lists in $LISTS, or generated names when there is no such folder; huge.txt: city plus generated
# names up to 5 million.
set -euo pipefail
cd "$(dirname "$0")"
L=${LISTS:-../../../shared/lists}
mkdir -p raw; rm -f raw/*
if ! [ -d "$L" ]; then
  echo "no folder of lists at $L (name one with LISTS=DIR): generating names instead" >&2
  python3 - > raw/adult--generated <<'P'
import random
r = random.Random(5); s = [a + b for a in 'bcdfghjklmnprstvwz' for b in 'aeiou']; seen = set()
while len(seen) < 300000:
    seen.add(''.join(r.choice(s) for _ in range(r.choice((3, 4, 5, 6)))) + r.choice(('', '', '-' + r.choice(s), str(r.randrange(99)))) + '.' + r.choice(('com', 'com', 'com', 'net', 'org', 'xxx', 'tv', 'info', 'al', 'de', 'it')))
print('\n'.join(sorted(seen)))
P
  python3 make_lists.py
  exit
fi
norm='{ sub(/\r$/,""); sub(/[#!].*/,""); if ($1=="0.0.0.0"||$1=="127.0.0.1"||$1=="::1") d=$2; else d=$1; d=tolower(d); sub(/^\*\./,"",d); sub(/^\|\|/,"",d); sub(/\^.*$/,"",d); sub(/^\./,"",d); sub(/\.$/,"",d); print d }'
get() { local c=$1; shift; for p in "$@"; do awk "$norm" "$L/$p" | sort -u > "raw/$c--$(echo "$p" | tr '/' '_')"; done; }
get adult sinfonietta/pornography-hosts ut1/dating/domains
get gambling sinfonietta/gambling-hosts ut1/gambling/domains
get proxy ut1/redirector/domains ut1/vpn/domains ut1/doh/domains
get malware ut1/cryptojacking/domains ut1/hacking/domains cbuijs/malware-domains-top-n blocklistproject/ransomware.adblock
get phishing cbuijs/phishing-domains-top-n blocklistproject/scam.adblock
get drugs-piracy blocklistproject/drugs.adblock blocklistproject/piracy.adblock blocklistproject/torrent.adblock ut1/drogue/domains ut1/warez/domains
python3 make_lists.py
