// Holds a live `warren node` against the Client-Server API of the specification. Called by run.mjs.
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { startNode } from "../warren-node.mjs";
import { wrongRequests } from "./bad-input.mjs";
import { accounts } from "./cases/accounts.mjs";
import { events } from "./cases/events.mjs";
import { notOffered } from "./cases/not-offered.mjs";
import { rooms } from "./cases/rooms.mjs";
import { runChecks, urlOf } from "./checks.mjs";
import { LATER } from "./later.mjs";
import { Specification } from "./specification.mjs";
import { passwordLogin, World } from "./world.mjs";

const CASES = { ...accounts, ...rooms, ...events, ...notOffered };
/** Fewer would mean that the folder is something else. */
const OPERATIONS_MIN = 100;

const SECRET = "known to the contract only";
const TURN = ["--turn-uri", "turn:turn.example.org", "--turn-shared-secret", SECRET];

export async function runClient({ program, directory, words, report }) {
  const specification = new Specification(directory, "client-server", OPERATIONS_MIN);
  const data = mkdtempSync(path.join(os.tmpdir(), "warren-contract-"));
  const node = await startNode(data, { program, flags: ["--registration-shared-secret", SECRET, ...TURN] });
  try {
    const world = await new World(node.url, SECRET).prepare();
    const ask = (operation, request) => askAs(world, operation, request);
    const sides = { specification, cases: CASES, later: LATER, ask, wrongRequests, faultOfAny: corsFault };
    return await runChecks(sides, { world, name: "contract", words, report });
  } finally {
    await node.end("SIGKILL");
    rmSync(data, { recursive: true, force: true });
  }
}

/** Every answer may be read by a page of another origin, errors too. */
function corsFault({ headers }) {
  return headers.get("access-control-allow-origin") === "*" ? "" : "no Access-Control-Allow-Origin";
}

/** With `proves`, the password is given as the second step of interactive authentication, in the session the first began. */
async function askAs(world, operation, { as, path = {}, query = {}, body, raw, method = operation.method, proves }) {
  const request = { token: as?.token, method, url: urlOf(operation, { path, query }), body, ...(raw && { raw }) };
  if (!proves || !as || raw) return world.ask(request);
  const challenge = await world.ask({ ...request, body: body ?? {} });
  return world.ask({ ...request, body: { ...body, auth: { ...passwordLogin(proves), session: challenge.body.session } } });
}
