// Checks the descriptions of the events: the AsyncAPI document with AsyncAPI's own parser, the schemas and the frozen events with
// Ajv. The first argument is the directory of the repository.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Parser } from "@asyncapi/parser";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const root = process.argv[2];
const faults = [];

const asyncapi = readFileSync(join(root, "docs/asyncapi.json"), "utf8");
const { document, diagnostics } = await new Parser().parse(asyncapi);
for (const { severity, message, path } of diagnostics) {
  // 0 is an error, 1 a warning; hints are about taste.
  if (severity <= 1) faults.push(`asyncapi.json: ${path.join(".")}: ${message}`);
}
if (!document) faults.push("asyncapi.json cannot be parsed");

const ajv = new Ajv2020({ strict: true, allErrors: true, allowUnionTypes: true });
addFormats(ajv);
// Formats of OpenAPI.
for (const format of ["int32", "int64"]) ajv.addFormat(format, { type: "number", validate: Number.isInteger });
let count = 0;
for (const name of readdirSync(join(root, "docs/schemas"))) {
  const schema = JSON.parse(readFileSync(join(root, "docs/schemas", name), "utf8"));
  const validate = ajv.compile(schema);
  const payload = JSON.parse(JSON.parse(readFileSync(join(root, "tests/fixtures", name), "utf8")).payload);
  if (!validate(payload)) faults.push(`${name}: ${ajv.errorsText(validate.errors)}`);
  // A schema that takes anything says nothing.
  const [tag] = Object.keys(payload);
  for (const wrong of [{}, { [tag]: null }, { [tag]: { ...payload[tag], at: 5, of: 5, account: 5, user: 5 } }]) {
    if (validate(wrong)) faults.push(`${name} takes ${JSON.stringify(wrong)}`);
  }
  count += 1;
}
for (const fault of faults) console.error(fault);
console.log(`${count} events`);
process.exit(faults.length > 0 ? 1 : 0);
