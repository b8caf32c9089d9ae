// The operations of one API, as a checkout of the Matrix specification's `data` folder tells them, and whether an answer is
// as it says.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { parse } from "yaml";

/** The APIs share the shape of their errors. */
const ERROR = path.join("api", "client-server", "definitions", "errors", "error.yaml");

/** The specification's own names for kinds of strings; their grammar is checked by their first character. */
const FORMATS = {
  "mx-user-id": /^@/,
  "mx-event-id": /^\$/,
  "mx-room-id": /^!/,
  "mx-room-alias": /^#/,
  "mx-mxc-uri": /^mxc:\/\//,
  "mx-server-name": /^[^\s/]+$/,
  "mx-unpadded-base64": /^[A-Za-z0-9+/]*$/,
  "mx-urlsafe-unpadded-base64": /^[A-Za-z0-9_-]*$/,
};

export class Specification {
  #directory;
  #ajv;
  /** One for each `operationId`: `{ id, method, template, authenticated, responses }`. */
  operations;

  /**
   * @param {string} directory the checkout's `data` folder; throws when it cannot be read
   * @param {"client-server" | "server-server"} api
   * @param {number} operationsMin how many it has at least
   */
  constructor(directory, api, operationsMin) {
    this.#directory = path.resolve(directory);
    // References are relative to the file they are in.
    const loadSchema = async (uri) => ({ ...document(fileURLToPath(uri)), $id: uri });
    this.#ajv = new Ajv2020({ strict: false, validateSchema: false, allErrors: true, formats: FORMATS, loadSchema });
    addFormats(this.#ajv, ["uri", "email", "int64", "float"]);
    this.operations = this.#read(path.join(this.#directory, "api", api), operationsMin);
  }

  #read(folder, operationsMin) {
    const operations = readdirSync(folder).filter((name) => name.endsWith(".yaml")).flatMap((name) => operationsOf(path.join(folder, name)));
    if (operations.length < operationsMin) throw new Error(`${folder} has ${operations.length} operations only: it is not the specification's`);
    return operations;
  }

  /** What is wrong with this answer of `operation`, or of any if there is none, in words; nothing when it is as specified. */
  async faults(operation, { status, body }) {
    const schema = await this.#schema(operation, status);
    if (schema(body)) return "";
    return this.#ajv.errorsText(schema.errors, { dataVar: "answer", separator: "\n" });
  }

  /** The properties of the body of `operation`, those of its parts included; undefined for one that takes no JSON. */
  bodySchema(operation) {
    const schema = operation.requestBody?.content?.["application/json"]?.schema;
    return schema && whole(schema, operation.pointer[0]);
  }

  /** An error that the operation does not name is one that any operation may answer with, and has their common shape. */
  async #schema(operation, status) {
    const file = path.join(this.#directory, ERROR);
    if (operation?.responses[status]?.content?.["application/json"]?.schema) return this.#ajv.compileAsync({ $ref: answerPointer(operation, status) });
    // Some answers are described in words only.
    if (status < 400 && operation?.responses[status] && !operation.responses[status].content) return this.#ajv.compile({ type: "object" });
    if (status < 400) throw new Error(`${operation?.id}: no answer with status ${status} is specified`);
    return this.#ajv.compileAsync({ $ref: pathToFileURL(file).href });
  }
}

function operationsOf(file) {
  const read = document(file);
  const base = read.servers?.[0]?.variables?.basePath?.default ?? "";
  return Object.entries(read.paths ?? {}).flatMap(([template, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => operation.operationId)
      .map(([method, operation]) => ({
        id: operation.operationId,
        method: method.toUpperCase(),
        // One path in the data ends with a blank, to be another key than its neighbour's.
        template: `${base}${template}`.trim(),
        authenticated: Boolean(operation.security?.every((scheme) => Object.keys(scheme).length)),
        requestBody: operation.requestBody,
        responses: operation.responses,
        pointer: [file, "paths", template, method],
      })),
  );
}

/** `schema` of `file` with its references followed and what it is composed of put together, one level deep. */
function whole(schema, file) {
  if (schema.$ref) {
    const at = path.resolve(path.dirname(file), schema.$ref);
    return whole({ ...document(at), ...schema, $ref: undefined }, at);
  }
  const parts = [...(schema.allOf ?? []).map((part) => whole(part, file)), schema];
  return {
    properties: Object.assign({}, ...parts.map((part) => part.properties)),
    required: parts.flatMap((part) => part.required ?? []),
  };
}

function answerPointer(operation, status) {
  const [file, ...steps] = operation.pointer;
  const escaped = [...steps, "responses", String(status), "content", "application/json", "schema"].map((step) => encodeURIComponent(step.replaceAll("~", "~0").replaceAll("/", "~1")));
  return `${pathToFileURL(file).href}#/${escaped.join("/")}`;
}

function document(file) {
  return parse(readFileSync(file, "utf8"), { maxAliasCount: -1 });
}
