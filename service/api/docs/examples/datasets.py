"""Examples of datasets; one sets `$DATASET`."""

from service.api.docs.examples.example import CSV, JSON, STATUS, Example

_DATASET_ID = "grep -o 'ds_[0-9A-Z]*' | head -1"

SEASONS = """{
  "name": "seasons",
  "columns": {
    "month": [1, 4, 7, 10],
    "t_c": [-2.5, 9.0, 19.5, 10.0],
    "season": ["winter", "spring", "summer", "autumn"]
  }
}"""

SEASONS_CSV = """month,t_c,season
2,-1.0,winter
5,14.5,spring
8,18.0,summer
11,5.0,autumn"""

SMALL_TENSORS = '{"inputs": [[1], [2]], "targets": [[3], [4]]}'

EXAMPLES = (
    Example(
        "POST /v1/datasets",
        "Upload columns.",
        f"curl -s localhost:8000/v1/datasets {JSON} -d '{SEASONS}'",
        """{
  "id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K",
  "name": "seasons",
  "kind": "tabular",
  "rows": 4,
  "sampled_rows": 4,
  "columns": [
    {
      "name": "month", "type": "numeric", "count": 4, "missing": 0, "distinct": 4,
      "min": 1, "max": 10, "mean": 5.5, "std": 3.3541019662496847,
      "histogram": {"edges": [1.0, 1.45, …], "counts": [1, 0, …]}
    },
    {
      "name": "t_c", "type": "numeric", "count": 4, "missing": 0, "distinct": 4,
      "min": -2.5, "max": 19.5, "mean": 9.0, "std": 7.810249675906654,
      "histogram": {"edges": [-2.5, -1.4, …], "counts": [1, 0, …]}
    },
    {
      "name": "season", "type": "categorical", "count": 4, "missing": 0, "distinct": 4,
      "categories": ["autumn", "spring", "summer", "winter"], "category_counts": [1, 1, 1, 1]
    }
  ],
  "warnings": [],
  …
}""",
        status=201,
        body=SEASONS,
    ),
    Example(
        "POST /v1/datasets",
        "Upload a CSV file and store its id.",
        f"""cat > seasons.csv <<'END'
{SEASONS_CSV}
END
curl -s 'localhost:8000/v1/datasets?name=seasons_csv' {CSV} --data-binary @seasons.csv > seasons.json
DATASET=$(grep -o 'ds_[0-9A-Z]*' seasons.json | head -1)""",
        status=201,
    ),
    Example(
        "POST /v1/datasets",
        "Upload a compressed file as part of a form, with an option: months are categories, not numbers.",
        """gzip -c seasons.csv > seasons.csv.gz
curl -s localhost:8000/v1/datasets -F file=@seasons.csv.gz -F name=seasons_gz -F types=month:categorical""",
        """{
  "id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K",
  "name": "seasons_gz",
  "columns": [
    {
      "name": "month", "type": "categorical", "count": 4, "missing": 0, "distinct": 4,
      "categories": ["11", "2", "5", "8"], "category_counts": [1, 1, 1, 1]
    },
    …
  ],
  …
}""",
        status=201,
    ),
    Example(
        "GET /v1/datasets",
        "Get the newest dataset.",
        "curl -s 'localhost:8000/v1/datasets?page_size=1'",
        """{
  "items": [{"id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K", "name": "seasons_gz", "kind": "tabular", "rows": 4, …}],
  "next_page_token": "…"
}""",
    ),
    Example(
        "GET /v1/datasets",
        "Find the dataset of a file that was uploaded, by its digest.",
        """DIGEST=$(sha256sum seasons.csv | cut -d ' ' -f 1)
curl -s "localhost:8000/v1/datasets?digest=sha-256:$DIGEST\"""",
        """{
  "items": [{"id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K", "name": "seasons_csv", "kind": "tabular", "rows": 4, …}],
  "next_page_token": null
}""",
    ),
    Example(
        "GET /v1/datasets/{dataset_id}",
        "Get a dataset.",
        "curl -s localhost:8000/v1/datasets/$DATASET",
        """{
  "id": "ds_01M85CJ81M3M9220XV2CVQ6Z5K",
  "name": "seasons_csv",
  "kind": "tabular",
  "rows": 4,
  "columns": [{"name": "month", "type": "numeric", "count": 4, "missing": 0, …}, …],
  "warnings": [],
  …
}""",
    ),
    Example(
        "DELETE /v1/datasets/{dataset_id}",
        "Upload a dataset and delete it.",
        f"""OTHER=$(curl -s localhost:8000/v1/datasets {JSON} -d '{SMALL_TENSORS}' | {_DATASET_ID})
curl -s {STATUS} -X DELETE localhost:8000/v1/datasets/$OTHER""",
        "204",
        status=204,
    ),
    Example(
        "GET /v1/datasets/{dataset_id}/content",
        "Download a dataset as CSV.",
        "curl -s 'localhost:8000/v1/datasets/'$DATASET'/content?format=csv'",
        """month,t_c,season
2,-1.0,winter
5,14.5,spring
8,18.0,summer
11,5.0,autumn""",
    ),
    Example(
        "GET /v1/datasets/{dataset_id}/rows",
        "Get the second and third row.",
        "curl -s 'localhost:8000/v1/datasets/'$DATASET'/rows?offset=1&limit=2'",
        """{
  "offset": 1,
  "total": 4,
  "rows": [
    {"month": 5, "t_c": 14.5, "season": "spring"},
    {"month": 8, "t_c": 18.0, "season": "summer"}
  ]
}""",
    ),
)
