// Holds a live `warren node` against the Server-Server API of the specification, as another homeserver that it meets by
// HTTPS sees it. Called by run.mjs.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { freePort } from "../synapse/cable.mjs";
import { makeCertificates } from "../synapse/sides.mjs";
import { startNode } from "../warren-node.mjs";
import { wrongBodies, wrongPaths } from "./bad-input.mjs";
import { federation } from "./cases/federation.mjs";
import { runChecks, urlOf } from "./checks.mjs";
import { Elsewhere } from "./elsewhere.mjs";
import { Neighbours } from "./neighbours.mjs";
import { SigningKey } from "./signing.mjs";
import { Specification } from "./specification.mjs";

/** Fewer would mean that the folder is something else. */
const OPERATIONS_MIN = 36;
/** What is answered with M_UNRECOGNIZED, and why. */
const LATER = { askPolicyServerToSign: "it is no policy server, which the specification leaves to it" };

export async function runFederation({ program, python, directory, words, report }) {
  const specification = new Specification(directory, "server-server", OPERATIONS_MIN);
  const data = mkdtempSync(path.join(os.tmpdir(), "warren-contract-"));
  makeCertificates(python, data);
  const elsewhere = await Elsewhere.start(data);
  let node;
  try {
    node = await startFederatingNode(program, data);
    const world = await new Neighbours(node, elsewhere).prepare();
    const ask = (operation, request) => askSigned(world, operation, request);
    const sides = { specification, cases: federation, later: LATER, ask, wrongRequests, faultOfAny: jsonFault };
    return await runChecks(sides, { world, name: "contract of federation", words, report });
  } finally {
    await node?.end("SIGKILL");
    elsewhere.end();
    rmSync(data, { recursive: true, force: true });
  }
}

async function startFederatingNode(program, certificates) {
  const port = await freePort();
  const serverName = `localhost:${port}`;
  const [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map((file) => path.join(certificates, file));
  const tls = ["--federation-listen", `127.0.0.1:${port}`, "--tls-cert", cert, "--tls-key", key, "--ca", ca];
  const node = await startNode(path.join(certificates, "node"), { program, flags: ["--server-name", serverName, "--well-known-server", serverName, ...tls, "--allow-private-ips"] });
  return { ...node, serverName };
}

function askSigned(world, operation, { path, query, body, raw, method = operation.method, ...signing }) {
  return world.ask({ method, url: urlOf(operation, { path, query }), body, raw, ...signing });
}

function wrongRequests(operation, request, schema) {
  // Of an event every field is signed: what is wrong with one is tested where events are.
  const fields = request.isEvent ? {} : schema;
  return [...wrongSignatures(operation, request), ...wrongBodies(request, fields), ...wrongPaths(request)];
}

function wrongSignatures(operation, request) {
  if (!operation.authenticated) return [];
  const expected = { status: [401], errcodes: ["M_UNAUTHORIZED"], common: true };
  return [
    { name: "unsigned", request: { ...request, unsigned: true }, expected },
    { name: "signed for another server", request: { ...request, signedFor: "other.example.org" }, expected },
    { name: "signed with another key", request: { ...request, key: new SigningKey() }, expected },
  ];
}

function jsonFault({ headers }) {
  return headers.get("content-type")?.startsWith("application/json") ? "" : `the answer says that it is ${headers.get("content-type")}`;
}
