#!/bin/sh
# Tells Spark which GPUs this machine has: {"name": "gpu", "addresses": ["GPU-8f3c...", ...]}.
# Addresses are UUIDs, which name the same GPU in every process; index numbers may not. If a scheduler has set
# CUDA_VISIBLE_DEVICES, only the GPUs in it are listed.
set -eu
nvidia-smi --query-gpu=index,uuid --format=csv,noheader | awk -F ', *' -v visible="${CUDA_VISIBLE_DEVICES-all}" '
    BEGIN { count = split(visible, wanted, ","); for (i = 1; i <= count; i++) allowed[wanted[i]] = 1 }
    visible == "all" || ($1 in allowed) || ($2 in allowed) { found = found (found == "" ? "" : ", ") "\"" $2 "\"" }
    END { printf "{\"name\": \"gpu\", \"addresses\": [%s]}\n", found }'
