#!/usr/bin/env bash
# Fit y = 2x + 1 with curl: submit a job, wait for it, read the loss, predict.
set -euo pipefail
URL=${FITSERVE_URL:-http://localhost:8000}

# `Prefer: wait=30` waits up to 30 seconds for the job to end.
answer=$(curl -sS --fail-with-body "$URL/v1/jobs" -H 'Content-Type: application/json' -H 'Prefer: wait=30' -d '{
  "data": {"columns": {"x": [0, 1, 2, 3, 4], "y": [1, 3, 5, 7, 9]}, "features": ["x"], "targets": ["y"]},
  "architecture": {"type": "sequential", "layers": [{"type": "Linear", "out_features": 1}]},
  "training": {"loss": "MSELoss", "optimizer": {"type": "Adam", "lr": 0.05}, "epochs": 1000, "seed": 0}}')
job=$(grep -o 'job_[0-9A-Z]*' <<<"$answer" | head -1)
echo "job $job"

echo "loss at epoch 1 and every 250th:"
curl -sS --fail-with-body "$URL/v1/jobs/$job/history?every=250"
echo

echo "prediction for x = 10 (expected: about 21):"
curl -sS --fail-with-body "$URL/v1/jobs/$job/predictions" -H 'Content-Type: application/json' -d '{"columns": {"x": [10]}}'
echo
