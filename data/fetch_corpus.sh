#!/usr/bin/env bash
# Makes a corpus of English prose and technical text out of Debian packages, downloaded and unpacked without root.
#   data/fetch_corpus.sh FOLDER            writes FOLDER/train.jsonl, FOLDER/valid.jsonl (every 50th document), FOLDER/SOURCES
#   data/fetch_corpus.sh FOLDER TEXTS      the same out of your own *.txt files under TEXTS, one document a file
# A JSONL file holds one object a line: {"text": "..."}. The same packages give the same bytes. data/README.md says what is in it.
set -euo pipefail
export LC_ALL=C

die() { printf 'fetch_corpus.sh: %s\n' "$*" >&2; exit 1; }
[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
texts=${2:-}

# Documents are separated by lines that hold only a form feed, until they become JSON.
files() { # FOLDER PATTERN : every file is a document
  find "$1" -type f -name "$2" -print0 | sort -z | xargs -0 -r awk 'FNR == 1 {print "\f"} {gsub(/\f/, ""); print}'
}
dictionary() { # FILE : entries of a dictd dictionary, packed into documents of at least 4,000 characters
  gzip -dc "$1" | grep -vE '^ *\[(1913 Webster|PJC|WordNet 1\.5|Webster 1913 Suppl\.|Century Dict\. 1906)[^]]*\]$' |
    awk 'BEGIN {print "\f"}
      {gsub(/\f/, "")}
      /^[^ ]/ && blank && size > 4000 {print "\f"; size = 0}
      {print; size += length($0); blank = ($0 == "")}'
}
# One object a document; what neither UTF-8 nor JSON allows is left out, and so are documents of a line or two.
to_json() {
  iconv -f UTF-8 -t UTF-8 -c | tr -d '\000-\010\013\015-\037\177' | awk '
    function finish() {if (size > 64) print "\"}"; size = 0; start = ""}
    $0 == "\f" {finish(); next}
    {
      gsub(/[\\"]/, "\\\\&"); gsub(/\t/, "\\t")
      before = size; size += length($0) + 1
      if (size <= 64) start = start $0 "\\n"
      else printf "%s%s\\n", (before <= 64 ? "{\"text\": \"" start : ""), $0
    }
    END {finish()}'
}

known() { apt-get "${apt[@]}" -qq download --print-uris "$1" >/dev/null 2>&1; }   # NAME : a package that can be downloaded
# Downloads a package (the first of the names that this release of Debian has) into FOLDER/packages and unpacks it.
unpack() { # NAME...
  local name file
  for name in "$@"; do
    if known "$name"; then break; fi
  done
  if ! compgen -G "$out/packages/${name}_*.deb" >/dev/null; then
    (cd "$out/packages" && apt-get "${apt[@]}" -qq download "$name" >/dev/null) ||
      die "Cannot download package $name (see above). Check the network and apt's sources, or name a folder of your own texts."
  fi
  file=$(compgen -G "$out/packages/${name}_*.deb" | head -n 1)
  dpkg -x "$file" "$out/unpacked"
  basename "$file" >>"$out/SOURCES"
}

debian_texts() {
  { command -v apt-get && command -v dpkg; } >/dev/null ||
    die "The sample corpus comes out of Debian packages (there is no apt-get or dpkg here). Name a folder of your own texts instead."
  mkdir -p "$out/packages"
  rm -rf "$out/unpacked" "$out/SOURCES"
  apt=(-o "APT::Sandbox::User=$(id -un)")
  if ! known perl-doc; then   # no package lists yet: our own, which needs no root
    mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial"
    apt+=(-o "Dir::State::Lists=$out/apt/lists" -o "Dir::Cache=$out/apt/cache")
    apt-get "${apt[@]}" -qq update || die "Cannot get the package lists (see above). Check the network, or name a folder of your own texts."
  fi
  unpack python3.11-doc python3.13-doc python3.12-doc
  unpack perl-doc
  unpack git-doc
  unpack dict-gcide
  unpack dict-foldoc
  unpack dict-jargon
  {
    files "$out/unpacked/usr/share/doc" '*.rst.txt'          # Python: tutorial, library reference, HOWTOs
    files "$out/unpacked/usr/share/perl" '*.pod'             # Perl: manual
    files "$out/unpacked/usr/share/doc/git-doc" '*.txt'      # Git: manual pages, tutorials, notes on its design
    dictionary "$out/unpacked/usr/share/dictd/gcide.dict.dz"
    dictionary "$out/unpacked/usr/share/dictd/foldoc.dict.dz"
    dictionary "$out/unpacked/usr/share/dictd/jargon.dict.dz"
  } | to_json
  rm -rf "$out/unpacked"
}

if [ -n "$texts" ]; then
  [ -d "$texts" ] || die "There is no folder $texts. Name one that holds *.txt files."
  echo "$texts/**.txt" >"$out/SOURCES"
  files "$texts" '*.txt' | to_json >"$out/all.partial"
else
  debian_texts >"$out/all.partial"
fi
awk -v train="$out/train.partial" -v valid="$out/valid.partial" '{print > (NR % 50 == 0 ? valid : train)}' "$out/all.partial"
[ -s "$out/valid.partial" ] || die "The texts hold fewer than 50 documents (one of 50 is held out for validation). Add more, or split long ones."
rm "$out/all.partial"
mv "$out/valid.partial" "$out/valid.jsonl"
mv "$out/train.partial" "$out/train.jsonl"   # last: its presence says that all is there
du -h --apparent-size "$out/train.jsonl" "$out/valid.jsonl"
