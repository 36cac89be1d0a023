"""Examples of parameter sets; the first one sets `$PARAMETERS`."""

from service.api.docs.examples.example import STATUS, Example

_SAFETENSORS = "-H 'Content-Type: application/x-safetensors'"
_PARAMETER_SET_ID = "grep -o 'par_[0-9A-Z]*' | head -1"

EXAMPLES = (
    Example(
        "POST /v1/parameters",
        "Upload the parameters of the model that was downloaded above, and store their id.",
        f"""curl -s 'localhost:8000/v1/parameters?name=thermometer' {_SAFETENSORS} \\
  --data-binary @thermometer.safetensors | tee parameters.json
PARAMETERS=$(cat parameters.json | {_PARAMETER_SET_ID})""",
        """{
  "id": "par_01M8PQPXNJ1Y0QB6SAZD9HH3EH",
  "name": "thermometer",
  "digest": "sha-256:…",
  "bytes": 456,
  "tensor_count": 4,
  "tensors": [{"name": "0.bias", "shape": [13], "dtype": "float32", "finite": true}, …],
  …
}""",
        status=201,
    ),
    Example(
        "GET /v1/parameters",
        "Find the parameter set of a file, by its digest.",
        """DIGEST=$(sha256sum thermometer.safetensors | cut -d ' ' -f 1)
curl -s "localhost:8000/v1/parameters?digest=sha-256:$DIGEST\"""",
        """{
  "items": [{"id": "par_01M8PQPXNJ1Y0QB6SAZD9HH3EH", "name": "thermometer", "tensor_count": 4, …}],
  "next_page_token": null
}""",
    ),
    Example(
        "GET /v1/parameters/{parameter_set_id}",
        "Get a parameter set.",
        "curl -s localhost:8000/v1/parameters/$PARAMETERS",
        """{
  "id": "par_01M8PQPXNJ1Y0QB6SAZD9HH3EH",
  "name": "thermometer",
  "tensor_count": 4,
  "tensors": [{"name": "0.bias", "shape": [13], "dtype": "float32", "finite": true}, …],
  …
}""",
    ),
    Example(
        "GET /v1/parameters/{parameter_set_id}/content",
        "Download the file.",
        f"""curl -s {STATUS} localhost:8000/v1/parameters/$PARAMETERS/content""",
        "200",
    ),
    Example(
        "DELETE /v1/parameters/{parameter_set_id}",
        "Upload the parameters of another checkpoint, and delete them.",
        f"""OTHER=$(curl -s "localhost:8000/v1/jobs/$JOB/model?checkpoint=best" |
  curl -s localhost:8000/v1/parameters {_SAFETENSORS} --data-binary @- | {_PARAMETER_SET_ID})
curl -s {STATUS} -X DELETE localhost:8000/v1/parameters/$OTHER""",
        "204",
        status=204,
    ),
)
