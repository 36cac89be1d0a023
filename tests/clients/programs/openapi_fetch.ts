// A fit with openapi-fetch and the types of openapi-typescript, both with their default options.
import createClient from "openapi-fetch";
import type { components, paths } from "./openapi";

type JobRequest = components["schemas"]["JobRequest"];

const client = createClient<paths>({ baseUrl: process.env.FITSERVE_URL });
const request: JobRequest = {
  name: "openapi-fetch",
  data: {
    columns: { t_u: [35.7, 55.9, 58.2, 81.9, 56.3], t_c: [0.5, 14.0, 15.0, 28.0, 11.0] },
    features: ["t_u"],
    targets: ["t_c"],
    transforms: [{ columns: ["t_u"], type: "scale", factor: 0.1 }],
  },
  architecture: {
    type: "sequential",
    layers: [
      { type: "sequential", layers: [{ type: "Linear", out_features: 4 }, { type: "Tanh" }] },
      { type: "Linear", out_features: 1 },
    ],
  },
  training: { loss: "MSELoss", optimizer: { type: "SGD", lr: 0.001 }, metrics: ["r2_score"], epochs: 50 },
};

const submitted = await client.POST("/v1/jobs", {
  params: { header: { Prefer: "wait=60" } },
  body: request,
});
if (!submitted.data || !("id" in submitted.data)) throw new Error(JSON.stringify(submitted.error));
const job = submitted.data;

const { data: checked } = await client.POST("/v1/jobs", {
  params: { query: { validate_only: true } },
  body: { data: job.data, architecture: job.architecture, training: job.training },
});
if (!checked || !("valid" in checked)) throw new Error("The sections of a job are no valid request.");

const path = { job_id: job.id };
const json = createClient<paths, "application/json">({ baseUrl: process.env.FITSERVE_URL });
const { data: history } = await json.GET("/v1/jobs/{job_id}/history", { params: { path } });
const { data: predictions } = await json.POST("/v1/jobs/{job_id}/predictions", {
  params: { path },
  body: { columns: { t_u: [40, 60] } },
});
const { data: model } = await client.GET("/v1/jobs/{job_id}/model", { params: { path }, parseAs: "arrayBuffer" });
const { data: layer } = await client.GET("/v1/catalog/{kind}/{name}", {
  params: { path: { kind: "layers", name: "Linear" } },
});
console.log(
  JSON.stringify({
    status: job.status,
    valid: checked.valid,
    epochs: history?.train_loss.length,
    outputs: (predictions?.outputs as unknown[]).length,
    model: (model?.byteLength ?? 0) > 0,
    inferred: layer?.inferred,
  }),
);
