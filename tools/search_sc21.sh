#!/usr/bin/env bash
# What selenite-sweep search finds for the ten models of SC21 Table 1 on Selene, against the paper's own layouts, as a
# Markdown table (docs/search.md). Three searches a model: the paper's tensor and pipe sizes, with the micro-batch and
# chunks that it does not state; any layout with the means of 2021; and all that Selenite can do.
#   search_sc21.sh [BIN] [FOLDER]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${1:-$root/build/release/bin} folder=${2:-search-sc21}
base=$root/scaling/published/sc21-table1.toml
means_then=(--set train.recompute=full --set train.recompute_layers=1 --set train.optimizer_sharding=0
      --set layout.sequence_parallel=false --set layout.context=1)
means_now=(--set model.attention=flash --set layout.blocking_sends=false --set train.precision=bf16
     --set train.gradient_reduce=bf16)

# search NAME GPUS BATCH LAYERS HIDDEN HEADS OPTIONS...: the first row of best.csv
search() {
  local name=$1 gpus=$2 batch=$3 layers=$4 hidden=$5 heads=$6; shift 6
  "$bin/selenite-sweep" search "$base" --machine selene --gpus "$gpus" --batch "$batch" --folder "$folder/$name" \
    --set "model.layers=$layers" --set "model.hidden=$hidden" --set "model.heads=$heads" "$@" >"$folder/$name.txt"
  sed -n 2p "$folder/$name/best.csv"
}
cells() {
  awk -F, '{printf "%s x %s x %s | %s | %s%s%s%s | %.2f | %.1f", $1, $3, $4, $5, $6,
            $7 == "none" ? "" : ", " $7, $8 == 0 ? "" : ", sharding " $8, $9 == "yes" ? ", sequence" : "", $10, $11}'
}

mkdir -p "$folder"
echo "| model | GPUs | published s | means | tensor x pipe x data | micro-batch | schedule, recomputation | s a step | MFU % |"
echo "|---|---|---|---|---|---|---|---|---|"
while read -r model gpus batch layers hidden heads tensor pipe published; do
  size=("$gpus" "$batch" "$layers" "$hidden" "$heads")
  paper=$(search "$model-paper" "${size[@]}" "${means_then[@]}" --set "layout.tensor=$tensor" --set "layout.pipe=$pipe" | cells)
  old=$(search "$model-2021" "${size[@]}" "${means_then[@]}" | cells)
  all=$(search "$model-now" "${size[@]}" "${means_now[@]}" | cells)
  echo "| $model | $gpus | $published | the paper's layout | $paper |"
  echo "| | | | any layout, 2021 | $old |"
  echo "| | | | everything | $all |"
done <<'ROWS'
1.7B 32 512 24 2304 24 1 1 3.52
3.6B 64 512 30 3072 32 2 1 3.71
7.5B 128 512 36 4096 32 4 1 3.69
18.4B 256 1024 40 6144 48 8 1 9.39
39.1B 512 1536 48 8192 64 8 2 14.42
76.1B 1024 1792 60 10240 80 8 4 16.01
145.6B 1536 2304 80 12288 96 8 8 24.84
310.1B 1920 2160 96 16384 128 8 16 37.64
529.6B 2520 2520 105 20480 128 8 35 54.16
1008.0B 3072 3072 128 25600 160 8 64 102.37
ROWS
