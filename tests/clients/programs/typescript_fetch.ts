// A fit with the client of OpenAPI Generator (typescript-fetch).
import { Configuration, DatasetsApi, JobsApi, ResultsApi, SystemApi } from "./typescript_fetch/index";

const configuration = new Configuration({ basePath: process.env.FITSERVE_URL });
const datasets = new DatasetsApi(configuration);
const jobs = new JobsApi(configuration);
const results = new ResultsApi(configuration);

const csv = "t_u,t_c\n35.7,0.5\n55.9,14.0\n58.2,15.0\n81.9,28.0\n56.3,11.0\n";
const dataset = await datasets.uploadDataset({ file: new Blob([csv]), name: "typescript-fetch" });
const submitted = await jobs.submitJob({
  prefer: "wait=60",
  jobRequest: {
    data: { datasetId: dataset.id, features: new Set(["t_u"]), targets: new Set(["t_c"]) },
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

const jobId = submitted.id;
const job = await jobs.getJob({ jobId });
const history = await results.getHistory({ jobId });
const predictions = await results.predict({ jobId, predictionRequest: { columns: { t_u: [40, 60] } } });
const model = await results.downloadModel({ jobId });
const layer = await new SystemApi(configuration).getCatalogEntry({ kind: "layers", name: "Linear" });
console.log(
  JSON.stringify({
    status: job.status,
    valid: job.createdAt instanceof Date,
    epochs: history.trainLoss.length,
    outputs: predictions.outputs.length,
    model: model.size > 0,
    inferred: layer.inferred,
  }),
);
