// Holds a live `warren node` against the specification: each operation of the Client-Server API is called once so that it
// works and once so that it is refused, and both answers must be as specified. Called by scripts/contract.mjs.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { startNode } from "../warren-node.mjs";
import { wrongRequests } from "./bad-input.mjs";
import { accounts } from "./cases/accounts.mjs";
import { events } from "./cases/events.mjs";
import { notOffered } from "./cases/not-offered.mjs";
import { rooms } from "./cases/rooms.mjs";
import { uncountedDuties } from "./duties.mjs";
import { LATER } from "./later.mjs";
import { Specification } from "./specification.mjs";
import { passwordLogin, World } from "./world.mjs";

const DUTIES = new URL("../../docs/musts.md", import.meta.url);
const CASES = { ...accounts, ...rooms, ...events, ...notOffered };

/**
 * Checks every operation whose id has one of `words`, or all.
 * @param {{ program: string, directory: string, words?: string[], report: (line: string) => void }} options `directory`
 *   is the specification's `data` folder
 * @returns {Promise<{ passed: number, failures: { name: string, message: string }[] }>}
 */
export async function runContract({ program, directory, words = [], report }) {
  const specification = new Specification(directory);
  const strangers = [...Object.keys(CASES), ...Object.keys(LATER)].filter((id) => !specification.operations.some((operation) => operation.id === id));
  if (strangers.length) throw new Error(`the specification has no ${strangers.join(", ")}`);

  const data = mkdtempSync(path.join(os.tmpdir(), "warren-contract-"));
  const node = await startNode(data, { program, flags: ["--registration-shared-secret", SECRET, ...TURN] });
  try {
    const world = await new World(node.url, SECRET).prepare();
    const counted = words.length ? { passed: 0, failures: [] } : countDuties(directory, report);
    for (const operation of specification.operations) {
      if (words.length && !words.some((word) => operation.id.includes(word))) continue;
      for (const [name, check] of checksOf(operation)) {
        const message = await check(world, specification).catch((error) => error.stack);
        report(`${message ? "✗" : "✓"} ${operation.id} ${name}`);
        if (message) counted.failures.push({ name: `contract: ${operation.id} ${name}`, message });
        else counted.passed++;
      }
    }
    return counted;
  } finally {
    await node.end("SIGKILL");
    rmSync(data, { recursive: true, force: true });
  }
}

/** Whether docs/musts.md has a row for every duty that the specification states. */
function countDuties(directory, report) {
  const name = "every duty is counted in docs/musts.md";
  const uncounted = uncountedDuties(directory, readFileSync(DUTIES, "utf8"));
  report(`${uncounted.length ? "✗" : "✓"} ${name}`);
  const failures = uncounted.length ? [{ name: `contract: ${name}`, message: uncounted.join("\n") }] : [];
  return { passed: failures.length ? 0 : 1, failures };
}

const SECRET = "known to the contract only";
const TURN = ["--turn-uri", "turn:turn.example.org", "--turn-shared-secret", SECRET];

/** Each check resolves with what is wrong, or with nothing. */
function checksOf(operation) {
  if (operation.id in LATER) return [["is not there yet", isUnrecognized(operation)]];
  const found = CASES[operation.id];
  if (!found) return [["has a case", async () => "nobody wrote one"]];
  return [
    ["is refused", isRefused(operation, found.refused)],
    ...(found.works ? [["works, and takes nothing wrong", works(operation, found.works)]] : []),
  ];
}

/** Everything wrong is tried first: what works afterwards shows that none of it had any effect. */
function works(operation, prepare) {
  return async (world, specification) => {
    const request = await prepare(world);
    const faults = [];
    for (const wrong of wrongRequests(operation, request, specification.bodySchema(operation))) {
      const fault = await taken(world, specification, operation, wrong);
      if (fault) faults.push(`${wrong.name}: ${fault}`);
    }
    const answer = await ask(world, operation, withUnknownField(request));
    const works = answer.status >= 200 && answer.status <= 299;
    faults.push(works ? corsFault(answer) || (await specification.faults(operation, answer)) : told(answer));
    return faults.filter(Boolean).join("\n");
  };
}

/** Nothing if `wrong` was refused as it should be. */
async function taken(world, specification, operation, { request, expected }) {
  const answer = await ask(world, operation, request);
  const { status, body } = answer;
  if (!expected.status.includes(status) || expected.errcodes?.includes(body.errcode) === false) {
    return `expected ${expected.status} ${expected.errcodes ?? ""}, got ${told(answer)}`;
  }
  return corsFault(answer) || (await specification.faults(expected.common ? undefined : operation, answer));
}

/** What a future version of the specification may add is passed over. */
function withUnknownField(request) {
  const isObject = typeof request.body === "object" && !Array.isArray(request.body);
  return isObject ? { ...request, body: { ...request.body, "org.example.unknown": { of: ["a", "future"] } } } : request;
}

function isRefused(operation, { status, errcode, request }) {
  return async (world, specification) => {
    const answer = await ask(world, operation, await request(world));
    if (answer.status !== status || (errcode && answer.body.errcode !== errcode)) return `expected ${status} ${errcode ?? ""}, got ${told(answer)}`;
    return corsFault(answer) || (await specification.faults(operation, answer));
  };
}

function isUnrecognized(operation) {
  return async (world) => {
    const path = Object.fromEntries([...operation.template.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name, "x"]));
    const answer = await ask(world, operation, { as: world.ada, path, body: operation.method === "GET" ? undefined : {} });
    if (answer.body?.errcode !== "M_UNRECOGNIZED") return `it is in the list of what is not there yet, and answers ${told(answer)}`;
  };
}

/** Every answer may be read by a page of another origin, errors too. */
function corsFault({ headers }) {
  return headers.get("access-control-allow-origin") === "*" ? "" : "no Access-Control-Allow-Origin";
}

function told({ status, body }) {
  return `${status} ${JSON.stringify(body)}`;
}

/** With `proves`, the password is given as the second step of interactive authentication, in the session the first began. */
async function ask(world, operation, { as, path = {}, query = {}, body, raw, method = operation.method, proves }) {
  const filled = operation.template.replace(/\{(\w+)\}/g, (_, name) => {
    if (path[name] === undefined) throw new Error(`the case says no ${name}`);
    return encodeURIComponent(path[name]);
  });
  const parameters = new URLSearchParams(query).toString();
  const request = { token: as?.token, method, url: parameters ? `${filled}?${parameters}` : filled, body, ...(raw && { raw }) };
  if (!proves || !as || raw) return world.ask(request);
  const challenge = await world.ask({ ...request, body: body ?? {} });
  return world.ask({ ...request, body: { ...body, auth: { ...passwordLogin(proves), session: challenge.body.session } } });
}
