// A fit with the client of @hey-api/openapi-ts; a file is sent with its serializer of forms.
import { client } from "./hey_api/client.gen";
import { formDataBodySerializer } from "./hey_api/client/index";
import {
  downloadModel,
  followJob,
  getCatalogEntry,
  getHistory,
  predict,
  submitJob,
  uploadDataset,
} from "./hey_api/sdk.gen";

client.setConfig({ baseUrl: process.env.FITSERVE_URL, throwOnError: true });

const csv = "t_u,t_c\n35.7,0.5\n55.9,14.0\n58.2,15.0\n81.9,28.0\n56.3,11.0\n";
const form = { file: new Blob([csv]) };
const { data: dataset } = await uploadDataset<true>({
  ...formDataBodySerializer,
  body: form as never, // typed for JSON, as each operation has one media type
  headers: { "Content-Type": null },
});
const { data: submitted } = await submitJob<true>({
  headers: { Prefer: "wait=60" },
  body: {
    data: { dataset_id: dataset.id, features: ["t_u"], targets: ["t_c"] },
    architecture: {
      type: "sequential",
      layers: [
        { type: "sequential", layers: [{ type: "Linear", out_features: 4 }, { type: "Tanh" }] },
        { type: "Linear", out_features: 1 },
      ],
    },
    training: { loss: "MSELoss", optimizer: { type: "SGD", lr: 0.001 }, epochs: 50 },
  },
});
if (!("id" in submitted)) throw new Error("The job was only checked.");

const path = { job_id: submitted.id };
const { stream } = await followJob({ path });
let events = 0;
for await (const _ of stream) events += 1;
const { data: history } = await getHistory<true>({ path, headers: { Accept: "application/json" } });
const { data: predictions } = await predict<true>({ path, body: { columns: { t_u: [40, 60] } } });
const { data: model } = await downloadModel<true>({ path });
const { data: layer } = await getCatalogEntry<true>({ path: { kind: "layers", name: "Linear" } });
if (typeof history === "string" || typeof predictions === "string") throw new Error("JSON is expected.");
console.log(
  JSON.stringify({
    status: submitted.status,
    valid: events > 0,
    epochs: history.train_loss.length,
    outputs: (predictions.outputs as unknown[]).length,
    model: (model as Blob).size > 0,
    inferred: layer.inferred,
  }),
);
